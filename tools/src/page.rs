//! HTML by hand: one file that needs nothing else, readable on a phone, by day and by night.

use std::io::Cursor;
use std::path::Path;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::imageops::thumbnail;
use image::{ImageFormat, RgbImage};

use crate::train::atomic_file;

mod chart;
mod matrix;

pub(crate) use self::chart::{Axis, COLOURS, Chart, Line};
pub(crate) use self::matrix::confusion;

/// A page on its way.
pub(crate) struct Page {
    html: String,
}

const STYLE: &str = ":root{color-scheme:light dark;--ink:#1d2125;--paper:#fff;--soft:#5f6b76;--line:#d9dde2;\
--panel:#f4f5f7;--heat:31,119,180}\
@media(prefers-color-scheme:dark){:root{--ink:#e4e7ea;--paper:#15181b;--soft:#9aa5b0;--line:#343b42;--panel:#1e2327;\
--heat:86,160,220}}\
*{box-sizing:border-box}\
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:75rem;padding:1rem;color:var(--ink);\
background:var(--paper)}\
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{margin-top:2rem;font-size:1.2rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.5rem 0;font-variant-numeric:tabular-nums}\
td,th{padding:.15rem .7rem;text-align:right;border-bottom:1px solid var(--line)}\
td:first-child,th:first-child{text-align:left}\
pre{background:var(--panel);padding:.8rem;overflow:auto;font-size:.85rem}\
.note{color:var(--soft)}.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(22rem,100%),1fr))}\
.charts{display:grid;gap:0 1.5rem;grid-template-columns:repeat(auto-fill,minmax(min(26rem,100%),1fr))}\
section{min-width:0}figure{margin:0;min-width:0}figcaption{font-size:.85rem;color:var(--soft);overflow-wrap:anywhere}\
.pair{display:grid;gap:.25rem;grid-template-columns:1fr 1fr}.pair img,.pair svg,figure>img{width:100%;height:auto;display:block}\
.chart{max-width:40rem}.chart svg{width:100%;height:auto;display:block}\
.key{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.85rem}.key i{display:inline-block;width:.8rem;height:.8rem;\
margin-right:.35rem;vertical-align:-.1rem;border-radius:2px}\
details>summary{cursor:pointer}\
@media(max-width:34rem){body{padding:.75rem}td,th{padding:.15rem .4rem}.pair{grid-template-columns:1fr}.chart text{font-size:17px}\
pre{padding:.5rem;font-size:.75rem}}";

/// Text with what HTML reads as marks written out.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A picture as the address of an image, its longer side at most `side` pixels.
pub(crate) fn jpeg(picture: &RgbImage, side: u32) -> Result<String> {
    let longest = picture.width().max(picture.height()).max(1);
    let mut jpeg = Cursor::new(Vec::new());
    if longest > side {
        let scaled = |length: u32| (u64::from(length) * u64::from(side)).div_ceil(u64::from(longest)) as u32;
        let small = thumbnail(picture, scaled(picture.width()), scaled(picture.height()));
        small.write_to(&mut jpeg, ImageFormat::Jpeg)?;
    } else {
        picture.write_to(&mut jpeg, ImageFormat::Jpeg)?;
    }
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg.into_inner())))
}

impl Page {
    pub(crate) fn new(title: &str) -> Self {
        let title = escaped(title);
        Self {
            html: format!(
                "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
                 content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style>\
                 <h1>{title}</h1>\n"
            ),
        }
    }

    /// A heading, and what its numbers may be compared with.
    pub(crate) fn section(&mut self, title: &str, comparable_with: Option<&str>) {
        self.heading(title);
        self.note(&match comparable_with {
            Some(program) => format!("Comparable with {program}."),
            None => "An extension: comparable with itself alone.".to_owned(),
        });
    }

    pub(crate) fn heading(&mut self, title: &str) {
        self.raw(&format!("<h2>{}</h2>", escaped(title)));
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        self.raw(&format!("<p>{}</p>", escaped(text)));
    }

    /// Small print.
    pub(crate) fn note(&mut self, text: &str) {
        self.raw(&format!("<p class=\"note\">{}</p>", escaped(text)));
    }

    /// Text as a terminal shows it.
    pub(crate) fn preformatted(&mut self, text: &str) {
        self.raw(&format!("<pre>{}</pre>", escaped(text)));
    }

    /// Text as a terminal shows it, behind a line that opens it.
    pub(crate) fn folded(&mut self, title: &str, text: &str) {
        let (title, text) = (escaped(title), escaped(text));
        self.raw(&format!("<details><summary>{title}</summary><pre>{text}</pre></details>"));
    }

    /// Markup that is ready.
    pub(crate) fn raw(&mut self, html: &str) {
        self.html.push_str(html);
        self.html.push('\n');
    }

    pub(crate) fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) {
        let mut html = String::from("<div class=\"wide\"><table><tr>");
        headings.iter().for_each(|heading| html.push_str(&format!("<th>{}</th>", escaped(heading))));
        html.push_str("</tr>");
        for row in rows {
            html.push_str("<tr>");
            row.iter().for_each(|cell| html.push_str(&format!("<td>{}</td>", escaped(cell))));
            html.push_str("</tr>");
        }
        self.raw(&(html + "</table></div>"));
    }

    /// Pictures beside each other in one figure (below each other on a phone), with a line below, and what colours mean.
    pub(crate) fn figure(
        pictures: &[(&RgbImage, &str)],
        side: u32,
        caption: &str,
        key: &[([u8; 3], &str)],
    ) -> Result<String> {
        let mut html = String::from("<figure><div class=\"pair\">");
        for (picture, alternative) in pictures {
            let (address, alternative) = (jpeg(picture, side)?, escaped(alternative));
            html.push_str(&format!("<img alt=\"{alternative}\" src=\"{address}\">"));
        }
        html.push_str(&format!("</div><figcaption>{}</figcaption>", escaped(caption)));
        if !key.is_empty() {
            html.push_str("<div class=\"key\">");
            for ([red, green, blue], text) in key {
                let text = escaped(text);
                html.push_str(&format!(
                    "<span><i style=\"background:rgb({red},{green},{blue})\"></i>{text}</span>"
                ));
            }
            html.push_str("</div>");
        }
        Ok(html + "</figure>")
    }

    pub(crate) fn finish(self) -> String {
        self.html + "</html>\n"
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(self, path: &Path) -> Result<()> {
        let html = self.finish();
        atomic_file::replace(path, |file| Ok(file.write_all(html.as_bytes())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        let mut page = Page::new("a<b");
        page.table(&["<i>"], &[vec!["\"x\" & <script>".to_owned()]]);
        let html = page.finish();
        assert!(html.contains("<h1>a&lt;b</h1>") && html.contains("&quot;x&quot; &amp; &lt;script&gt;"));
        assert!(!html.contains("<script>") && !html.contains("<i>"));
    }

    #[test]
    fn a_page_fits_a_phone_and_asks_for_nothing() {
        let html = Page::new("a run").finish();
        assert!(html.contains("width=device-width") && html.contains("prefers-color-scheme:dark"));
        assert!(!html.contains("http"));
    }
}

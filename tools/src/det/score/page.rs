//! HTML and SVG by hand: one file that needs nothing else.

use std::fmt::Write;

/// A page on its way.
pub(super) struct Page {
    html: String,
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#222}\
table{border-collapse:collapse;margin:.5em 0}td,th{padding:.15em .7em;text-align:right;border-bottom:1px solid #ddd}\
td:first-child,th:first-child{text-align:left}h2{margin-top:2em}pre{background:#f6f6f6;padding:.8em;overflow:auto}\
.note{color:#666}.images{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0;width:22em}figcaption{font-size:.85em}\
svg{background:#fff}";

/// The width and height of a chart's square, and what is left around it for labels.
const SIDE: f64 = 320.0;
const MARGIN: f64 = 36.0;

/// Text with what HTML reads as marks written out.
pub(super) fn escaped(text: &str) -> String {
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

impl Page {
    pub(super) fn new(title: &str) -> Self {
        let title = escaped(title);
        Self {
            html: format!(
                "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>\n"
            ),
        }
    }

    /// A heading, and what its numbers may be compared with.
    pub(super) fn section(&mut self, title: &str, comparable_with: Option<&str>) {
        let note = match comparable_with {
            Some(program) => format!("Comparable with {}.", escaped(program)),
            None => "An extension: comparable with itself alone.".to_owned(),
        };
        self.raw(&format!("<h2>{}</h2><p class=\"note\">{note}</p>", escaped(title)));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.raw(&format!("<p>{}</p>", escaped(text)));
    }

    /// Text as a terminal shows it.
    pub(super) fn preformatted(&mut self, text: &str) {
        self.raw(&format!("<pre>{}</pre>", escaped(text)));
    }

    /// Markup that is ready.
    pub(super) fn raw(&mut self, html: &str) {
        self.html.push_str(html);
        self.html.push('\n');
    }

    pub(super) fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) {
        let mut html = String::from("<table><tr>");
        headings.iter().for_each(|heading| html.push_str(&format!("<th>{}</th>", escaped(heading))));
        html.push_str("</tr>");
        for row in rows {
            html.push_str("<tr>");
            row.iter().for_each(|cell| html.push_str(&format!("<td>{}</td>", escaped(cell))));
            html.push_str("</tr>");
        }
        self.raw(&(html + "</table>"));
    }

    /// Lines over the unit square: a label, a colour, and points from left to right.
    pub(super) fn chart(&mut self, across: &str, up: &str, lines: &[(&str, &str, Vec<[f64; 2]>)]) {
        let whole = SIDE + 2.0 * MARGIN;
        let x = |value: f64| MARGIN + value * SIDE;
        let y = |value: f64| MARGIN + (1.0 - value) * SIDE;
        let mut svg = format!(
            "<svg width=\"{}\" height=\"{whole}\" font-size=\"11\" font-family=\"sans-serif\">",
            whole + 140.0
        );
        for tick in 0..=5 {
            let value = f64::from(tick) / 5.0;
            // Writing to a string does not fail.
            let _ = write!(
                svg,
                "<path d=\"M{} {}H{}M{} {}V{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value:.1}</text><text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{value:.1}</text>",
                x(0.0),
                y(value),
                x(1.0),
                x(value),
                y(0.0),
                y(1.0),
                x(0.0) - 4.0,
                y(value) + 4.0,
                x(value),
                y(0.0) + 14.0
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text x=\"{}\" y=\"{}\">{}</text>",
            x(0.5),
            y(0.0) + 30.0,
            escaped(across),
            x(0.0),
            y(1.0) - 10.0,
            escaped(up)
        );
        for (index, (label, colour, points)) in lines.iter().enumerate() {
            let points: Vec<String> =
                points.iter().map(|[px, py]| format!("{:.1},{:.1}", x(*px), y(*py))).collect();
            let _ = write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" points=\"{}\"/><text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
                points.join(" "),
                x(1.0) + 10.0,
                y(1.0) + 14.0 * (index as f64 + 1.0),
                escaped(label)
            );
        }
        self.raw(&(svg + "</svg>"));
    }

    pub(super) fn finish(self) -> String {
        self.html + "</html>\n"
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
}

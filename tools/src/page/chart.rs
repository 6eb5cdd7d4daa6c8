//! Lines over two axes, as SVG that takes its ink from the page.

use std::fmt::Write;

use super::{Page, escaped};

/// Colours of lines, apart from each other on white and on black, and without colour vision (after Okabe and Ito 2008).
pub(crate) const COLOURS: [&str; 7] =
    ["#2b8fd6", "#e0702a", "#12a37a", "#c978ab", "#d99a00", "#7b7bdb", "#888888"];

/// Size of the square that lines lie in, and the room for labels left of it and around it.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const MARGIN: f64 = 28.0;

/// One axis.
pub(crate) struct Axis<'a> {
    pub(crate) label: &'a str,
    pub(crate) range: [f64; 2],
}

/// One line: its name, and points from left to right.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) colour: &'static str,
    pub(crate) points: Vec<[f64; 2]>,
    /// Few points are shown as such.
    pub(crate) has_dots: bool,
}

/// Lines over two axes; an axis whose label is empty is told by what stands above the chart.
pub(crate) struct Chart<'a> {
    /// What a person who cannot see it is told.
    pub(crate) alternative: String,
    pub(crate) across: Axis<'a>,
    pub(crate) up: Axis<'a>,
    pub(crate) lines: Vec<Line>,
}

impl<'a> Chart<'a> {
    /// Over the unit square.
    pub(crate) fn of_shares(across: &'a str, up: &'a str, lines: Vec<Line>) -> Self {
        let axis = |label| Axis { label, range: [0.0, 1.0] };
        Self { alternative: format!("{up} over {across}"), across: axis(across), up: axis(up), lines }
    }
}

impl Line {
    pub(crate) fn new(name: &str, colour: &'static str, points: Vec<[f64; 2]>) -> Self {
        Self { name: name.to_owned(), colour, points, has_dots: false }
    }
}

impl Page {
    pub(crate) fn chart(&mut self, chart: &Chart<'_>) {
        let Chart { alternative, across, up, lines } = chart;
        let position = |axis: &Axis<'_>, value: f64| {
            let [low, high] = axis.range;
            ((value - low) / (high - low)).clamp(-0.02, 1.02)
        };
        let x = |value: f64| LEFT + position(across, value) * WIDTH;
        let y = |value: f64| MARGIN + (1.0 - position(up, value)) * HEIGHT;
        let (bottom, right) = (MARGIN + HEIGHT, LEFT + WIDTH);
        let mut svg = format!(
            "<div class=\"chart\"><svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" font-size=\"11\" font-family=\"system-ui,sans-serif\" fill=\"currentColor\">",
            right + MARGIN,
            bottom + 2.0 * MARGIN,
            escaped(alternative)
        );
        // Writing to a string does not fail.
        for value in ticks(up.range) {
            let at = y(value);
            let _ = write!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"currentColor\" opacity=\".15\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 5.0,
                at + 4.0,
                number(value)
            );
        }
        for value in ticks(across.range) {
            let at = x(value);
            let _ = write!(
                svg,
                "<path d=\"M{at:.1} {MARGIN}V{bottom}\" stroke=\"currentColor\" opacity=\".15\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 15.0,
                number(value)
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text x=\"{}\" y=\"{}\">{}</text>",
            LEFT + WIDTH / 2.0,
            bottom + 32.0,
            escaped(across.label),
            4.0,
            MARGIN - 12.0,
            escaped(up.label)
        );
        for Line { colour, points, has_dots, .. } in lines {
            let text: Vec<String> =
                points.iter().map(|[px, py]| format!("{:.1},{:.1}", x(*px), y(*py))).collect();
            let _ = write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-linejoin=\"round\" points=\"{}\"/>",
                text.join(" ")
            );
            for [px, py] in points.iter().filter(|_| *has_dots) {
                let _ = write!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                    x(*px),
                    y(*py)
                );
            }
        }
        svg.push_str("</svg><div class=\"key\">");
        for Line { name, colour, .. } in lines {
            let _ = write!(svg, "<span><i style=\"background:{colour}\"></i>{}</span>", escaped(name));
        }
        self.raw(&(svg + "</div></div>"));
    }
}

/// Round values of an axis, about five.
fn ticks([low, high]: [f64; 2]) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    if !rough.is_finite() || rough <= 0.0 {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = step.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|tick| tick as f64 * step).collect()
}

fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if size < 1e-3 {
        let text = format!("{value:.1e}");
        text.replace(".0e", "e")
    } else if size < 10.0 {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        #[track_caller]
        fn case(range: [f64; 2], expected: &[&str]) {
            let ticks: Vec<String> = ticks(range).into_iter().map(number).collect();
            assert_eq!(ticks, expected);
        }
        case([0.0, 1.0], &["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        case([0.0, 960.0], &["0", "200", "400", "600", "800"]);
        case([0.0, 2.5e-4], &["0", "5e-5", "1e-4", "1.5e-4", "2e-4", "2.5e-4"]);
        case([3.0, 3.0], &["3"]);
    }
}

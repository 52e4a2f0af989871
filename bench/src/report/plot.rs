//! Curves as SVG: one plot per curve, one line per contender, through the medians of the rounds. Readable on light and dark.

use super::Results;
use crate::stats::Summary;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 70.0;

/// Colours that stand out from white and from near-black alike, and from one another for most colour-blind people.
const COLOURS: [&str; 7] = [
    "#2f7ed8", "#e07b00", "#1a9850", "#c2417c", "#8a63d2", "#7f8c8d", "#b8860b",
];

pub(super) struct Plot {
    pub(super) file: String,
    pub(super) title: String,
    pub(super) svg: String,
}

struct Line<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
}

pub(super) fn plots(results: &Results) -> Vec<Plot> {
    let mut curves: Vec<&str> = Vec::new();
    for point in results
        .rows
        .iter()
        .flat_map(|row| &row.rounds)
        .flat_map(|sample| &sample.points)
    {
        if !curves.contains(&point.curve.as_str()) {
            curves.push(&point.curve);
        }
    }
    let plot = |curve: &str| {
        let slug: String = curve
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '-'
                }
            })
            .collect();
        Plot {
            file: format!("{}-{}.svg", results.scenario, slug.to_lowercase()),
            title: curve.to_owned(),
            svg: draw(curve, &lines(results, curve)),
        }
    };
    curves.into_iter().map(plot).collect()
}

fn lines<'a>(results: &'a Results, curve: &str) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for row in &results.rows {
        let samples = row.rounds.iter().flat_map(|sample| &sample.points);
        let points: Vec<_> = samples.filter(|point| point.curve == curve).collect();
        let mut places: Vec<f64> = points.iter().map(|point| point.x).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let median = |x: f64| {
            let here = points.iter().filter(|point| point.x.total_cmp(&x).is_eq());
            let values: Vec<f64> = here.map(|point| point.y).collect();
            Some((x, Summary::of(&values)?.median))
        };
        let points: Vec<_> = places.into_iter().filter_map(median).collect();
        if !points.is_empty() {
            lines.push(Line {
                name: &row.name,
                points,
            });
        }
    }
    lines
}

/// An axis: linear from zero, or logarithmic when the values span more than two powers of ten.
struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(f64::MIN, f64::max);
        let low = values.filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
        let log = low < f64::MAX && high / low > 100.0;
        if log {
            let (low, high) = (low.log10().floor(), high.log10().ceil());
            return Self { low, high, log };
        }
        let high = if high > 0.0 { high * 1.05 } else { 1.0 };
        Self {
            low: 0.0,
            high,
            log,
        }
    }

    /// From 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let value = if self.log {
            value.max(1e-12).log10()
        } else {
            value
        };
        let span = (self.high - self.low).max(f64::EPSILON);
        ((value - self.low) / span).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let mut ticks = Vec::new();
            let mut power = self.low;
            while power <= self.high {
                ticks.push(10_f64.powf(power));
                power += 1.0;
            }
            return ticks;
        }
        let rough = self.high / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = steps
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let mut ticks = vec![0.0];
        while ticks[ticks.len() - 1] + step <= self.high {
            ticks.push(ticks[ticks.len() - 1] + step);
        }
        ticks
    }
}

fn draw(title: &str, lines: &[Line<'_>]) -> String {
    let points = lines.iter().flat_map(|line| &line.points);
    let x_axis = Axis::over(points.clone().map(|point| point.0));
    let y_axis = Axis::over(points.map(|point| point.1));
    let x = |value: f64| LEFT + x_axis.place(value) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - y_axis.place(value) * (HEIGHT - TOP - BOTTOM);
    let mut svg = head(title);
    for tick in y_axis.ticks() {
        let at = y(tick);
        svg += &format!(
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{}\" y2=\"{at:.1}\"/>\n",
            WIDTH - RIGHT
        );
        svg += &format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 8.0,
            at + 4.0,
            short(tick)
        );
    }
    for tick in x_axis.ticks() {
        let (at, below) = (x(tick), HEIGHT - BOTTOM + 18.0);
        svg += &format!(
            "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{}</text>\n",
            short(tick)
        );
    }
    let mut legend = LEFT;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let path: Vec<String> = line
            .points
            .iter()
            .map(|&(px, py)| format!("{:.1},{:.1}", x(px), y(py)))
            .collect();
        svg += &format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\n",
            path.join(" ")
        );
        for place in &path {
            let (cx, cy) = place.split_once(',').unwrap_or_default();
            svg += &format!("<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{colour}\"/>\n");
        }
        let (top, name) = (HEIGHT - 22.0, escape(line.name));
        svg += &format!(
            "<rect x=\"{legend}\" y=\"{}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>\n",
            top - 6.0
        );
        svg += &format!("<text x=\"{}\" y=\"{top}\">{name}</text>\n", legend + 18.0);
        legend += 44.0 + 7.0 * width(line.name);
    }
    svg + "</svg>\n"
}

fn head(title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n\
         <style>\n\
         text {{ font: 13px system-ui, sans-serif; fill: #333 }}\n\
         .grid {{ stroke: #8886; stroke-width: 1 }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #ddd }} }}\n\
         </style>\n\
         <text x=\"{LEFT}\" y=\"22\" font-weight=\"bold\">{title}</text>\n",
        title = escape(title)
    )
}

/// A name's width in letters.
fn width(name: &str) -> f64 {
    name.chars().map(|_| 1.0).sum()
}

fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

//! The curves of a report as one SVG picture: latency by quantile on the left, answers over time on the right.
//! Plain text output, no library. Invariant: what is drawn lies within its panel, whatever the figures.

use std::fmt::Write as _;

use super::report::Report;
use super::row::Row;
use crate::limits;

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 560.0;
/// Where the panels begin and how large they are.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 650.0;
const TOP: f64 = 50.0;
const PANEL_WIDTH: f64 = 500.0;
const PANEL_HEIGHT: f64 = 380.0;
const COLOURS: [&str; 8] =
    ["#1b6ca8", "#c8553d", "#2f8f4e", "#8e5ea2", "#b8860b", "#108a8a", "#6b7280", "#d6336c"];

/// Draws `report`.
#[must_use]
pub fn draw(report: &Report) -> String {
    let rows: Vec<&Row> =
        report.rows.iter().chain(&report.hello).filter(|row| row.rate_per_s > 0.0).collect();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    latencies(&mut svg, &rows);
    rates(&mut svg, &rows);
    legend(&mut svg, &rows);
    text(&mut svg, (LEFT, HEIGHT - 8.0), "start", &report.place);
    svg.push_str("</svg>\n");
    svg
}

/// Latency (logarithmic) by how many nines of all requests are faster.
fn latencies(svg: &mut String, rows: &[&Row]) {
    text(svg, (LEFT, TOP - 16.0), "start", "Latency in ms by quantile");
    let points = || rows.iter().flat_map(|row| row.latency_curve.iter().map(|point| point.1));
    let low = points().fold(f64::INFINITY, f64::min).clamp(0.001, 1e6).log10().floor();
    let high = points().fold(0.01, f64::max).log10().ceil().max(low + 1.0);
    let panel = Panel { left: LEFT, x: (0.0, 4.0), y: (low, high) };
    for quantile in [0.0, 0.9, 0.99, 0.999, 0.9999] {
        panel.tick_x(svg, nines(quantile), &format!("{}", quantile * 100.0));
    }
    let mut decade = low;
    while decade <= high {
        panel.tick_y(svg, decade, &format!("{}", 10f64.powf(decade)));
        decade += 1.0;
    }
    for (index, row) in rows.iter().enumerate() {
        let curve = row.latency_curve.iter();
        panel.line(
            svg,
            index,
            curve.map(|&(quantile, ms)| (nines(quantile), ms.max(0.001).log10())),
        );
    }
}

/// Answers in a second over the seconds of the measurement.
fn rates(svg: &mut String, rows: &[&Row]) {
    text(svg, (RIGHT, TOP - 16.0), "start", "Answers per second over time in s");
    let tick_s = limits::BENCH_TICK.as_secs_f64();
    let longest = rows.iter().map(|row| row.rate_curve.len()).max().unwrap_or(0).max(2);
    let end = (longest - 1) as f64 * tick_s;
    let highest = rows.iter().flat_map(|row| row.rate_curve.iter().copied()).fold(1.0, f64::max);
    let panel = Panel { left: RIGHT, x: (0.0, end), y: (0.0, highest) };
    for fifth in 0..=5 {
        let part = f64::from(fifth) / 5.0;
        panel.tick_x(svg, end * part, &format!("{:.1}", end * part));
        panel.tick_y(svg, highest * part, &format!("{:.0}", highest * part));
    }
    for (index, row) in rows.iter().enumerate() {
        let curve = row.rate_curve.iter().enumerate();
        panel.line(svg, index, curve.map(|(tick, &rate)| (tick as f64 * tick_s, rate)));
    }
}

fn legend(svg: &mut String, rows: &[&Row]) {
    for (index, row) in rows.iter().enumerate() {
        let x = LEFT + (index % 6) as f64 * 185.0;
        let y = TOP + PANEL_HEIGHT + 46.0 + (index / 6) as f64 * 16.0;
        let colour = COLOURS[index % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>",
            y - 9.0
        );
        text(svg, (x + 15.0, y), "start", &format!("{} over {}", row.name(), row.connections));
    }
}

/// 0.9 is 1, 0.99 is 2, and so on.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}

/// A rectangle with a range of values for each direction.
struct Panel {
    left: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Panel {
    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let part =
            |value: f64, (from, to): (f64, f64)| ((value - from) / (to - from)).clamp(0.0, 1.0);
        let across = self.left + part(x, self.x) * PANEL_WIDTH;
        (across, TOP + (1.0 - part(y, self.y)) * PANEL_HEIGHT)
    }

    fn line(&self, svg: &mut String, index: usize, points: impl Iterator<Item = (f64, f64)>) {
        let colour = COLOURS[index % COLOURS.len()];
        // Colours come again with dashes.
        let dash = if index < COLOURS.len() { "" } else { " stroke-dasharray=\"5 3\"" };
        svg.push_str("<polyline fill=\"none\" stroke-width=\"1.5\" points=\"");
        for point in points {
            let (x, y) = self.place(point);
            let _ = write!(svg, "{x:.1},{y:.1} ");
        }
        let _ = writeln!(svg, "\" stroke=\"{colour}\"{dash}/>");
    }

    fn tick_x(&self, svg: &mut String, at: f64, label: &str) {
        let (x, bottom) = self.place((at, self.y.0));
        grid(svg, (x, TOP), (x, bottom));
        text(svg, (x, bottom + 16.0), "middle", label);
    }

    fn tick_y(&self, svg: &mut String, at: f64, label: &str) {
        let (left, y) = self.place((self.x.0, at));
        grid(svg, (left, y), (left + PANEL_WIDTH, y));
        text(svg, (left - 6.0, y + 4.0), "end", label);
    }
}

fn grid(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#dddddd\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#333333\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that elements nest and attributes are quoted; gives the names of all elements.
    fn elements(svg: &str) -> Vec<String> {
        let (mut open, mut all) = (Vec::new(), Vec::new());
        for part in svg.split('<').skip(1) {
            let (tag, text) = part.split_once('>').expect("a tag ends");
            assert!(
                !text.contains('>')
                    && !text
                        .replace("&amp;", "")
                        .replace("&lt;", "")
                        .replace("&gt;", "")
                        .contains('&'),
                "{text}"
            );
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name));
                continue;
            }
            let name = tag.split([' ', '/']).next().expect("a name").to_owned();
            all.push(name.clone());
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?} stay open");
        all
    }

    fn report(curve: Vec<(f64, f64)>, rates: Vec<f64>) -> Report {
        let row = Row {
            workload: "a<b & c".into(),
            rate_per_s: 1.0,
            latency_curve: curve,
            rate_curve: rates,
            ..Row::default()
        };
        Report { rows: vec![row; 9], place: "2 <cpus>".into(), ..Report::default() }
    }

    #[test]
    fn pictures_are_well_formed_and_stay_in_their_panels() {
        let extremes = vec![(0.0, 0.0), (0.5, 1e9), (0.9999999, 3.0), (1.0, f64::NAN)];
        for rates in [vec![], vec![5.0], vec![0.0, 1e9, 3.0]] {
            let svg = draw(&report(extremes.clone(), rates));
            let lines = elements(&svg).iter().filter(|name| *name == "polyline").count();
            assert_eq!(lines, 18, "two curves a row");
            assert!(svg.contains("a&lt;b &amp; c over 0"));
            for number in svg.split("points=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                for point in number.split_whitespace() {
                    let (x, y) = point.split_once(',').expect("a point");
                    let inside = |n: &str, end: f64| {
                        n == "NaN" || n.parse::<f64>().is_ok_and(|n| (0.0..=end).contains(&n))
                    };
                    assert!(inside(x, WIDTH) && inside(y, HEIGHT), "{point}");
                }
            }
        }
    }

    #[test]
    fn a_report_without_rows_is_an_empty_picture() {
        let names = elements(&draw(&Report::default()));
        assert!(names.contains(&"svg".to_owned()) && !names.contains(&"polyline".to_owned()));
    }
}

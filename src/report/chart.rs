//! Line charts as inline SVG: a few series over the steps of a stage, with axes, gaps where a value is missing, crosses where it is
//! not a number. Long stages are drawn as the mean of equal slices of steps, with the range of each slice behind the line.

use super::html::{Html, number, si};
use super::input::MetricRow;
use super::scale::Scale;
use super::topics::Topic;

/// The drawing's own units; the page scales it to the width of its card.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 352.0;
pub(super) const TOP: f64 = 10.0;
pub(super) const BOTTOM: f64 = 128.0;
/// More points than this are finer than a card's pixels, and only make the file larger.
const MAX_POINTS: usize = 180;
/// Colours in the style sheet.
const COLOURS: usize = 6;

/// One point of a series: a slice of consecutive steps.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Point {
    /// No step of the slice has the metric.
    Absent,
    /// The steps that have it are all NaN or infinite.
    NotFinite,
    /// Mean, least and greatest of the finite values.
    Value { mean: f64, low: f64, high: f64 },
}

impl Point {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut sum, mut finite, mut seen) = (0.0, 0u32, 0u32);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            seen += 1;
            if value.is_finite() {
                finite += 1;
                sum += value;
                (low, high) = (low.min(value), high.max(value));
            }
        }
        match (seen, finite) {
            (0, _) => Self::Absent,
            (_, 0) => Self::NotFinite,
            // The mean of huge values may overflow although each is finite; any of them then says as much as the mean.
            _ => Self::Value { mean: (sum / f64::from(finite)).clamp(low, high), low, high },
        }
    }

    fn mean(self) -> Option<f64> {
        if let Self::Value { mean, .. } = self { Some(mean) } else { None }
    }
}

struct Series<'a> {
    name: &'a str,
    points: Vec<Point>,
    not_finite: usize,
}

/// Draws `topic` over `rows`, the steps of one stage in order. Values under the pointer are shown by the page's script.
pub fn figure(html: &mut Html, topic: &Topic, rows: &[&MetricRow]) {
    let slice = steps_a_point(rows.len());
    // A slice goes by its first step, the last one by its last: the axis then says from where to where the stage went.
    let mut steps: Vec<u64> = rows.chunks(slice).map(|chunk| chunk[0].step).collect();
    if let (Some(end), Some(row)) = (steps.last_mut(), rows.last()) {
        *end = row.step;
    }
    let series: Vec<Series<'_>> = topic.metrics.iter().map(|name| series(name, rows, slice)).collect();
    let scale = scale_of(&series, topic.from_zero);
    html.raw("<figure class=\"chart\" data-steps=\"").text(json_list(steps.iter().map(u64::to_string))).raw("\">");
    html.raw("<figcaption><b>").text(&topic.title).raw("</b> <small>").text(topic.unit).raw("</small></figcaption>");
    match &scale {
        Some(scale) => svg(html, topic, &series, &steps, scale, slice > 1),
        None => {
            html.raw("<p class=\"none\">No finite value in ").text(rows.len()).raw(" steps.</p>");
        }
    }
    legend(html, &series);
    html.raw("</figure>");
}

/// How many consecutive steps one point stands for in a stage of `steps` steps.
pub fn steps_a_point(steps: usize) -> usize {
    steps.div_ceil(MAX_POINTS).max(1)
}

fn series<'a>(name: &'a str, rows: &[&MetricRow], slice: usize) -> Series<'a> {
    let value = |row: &&MetricRow| row.metrics.get(name).copied();
    Series {
        name,
        points: rows.chunks(slice).map(|chunk| Point::of(chunk.iter().filter_map(value))).collect(),
        not_finite: rows.iter().filter_map(value).filter(|v| !v.is_finite()).count(),
    }
}

fn scale_of(series: &[Series<'_>], from_zero: bool) -> Option<Scale> {
    let ends = series.iter().flat_map(|s| &s.points).filter_map(|point| match point {
        Point::Value { low, high, .. } => Some((*low, *high)),
        _ => None,
    });
    let (low, high) = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    Some(Scale::new(low, high, from_zero))
}

fn x(index: usize, count: usize) -> f64 {
    if count < 2 { (LEFT + RIGHT) / 2.0 } else { LEFT + (RIGHT - LEFT) * index as f64 / (count - 1) as f64 }
}

fn svg(html: &mut Html, topic: &Topic, series: &[Series<'_>], steps: &[u64], scale: &Scale, banded: bool) {
    html.raw("<svg viewBox=\"0 0 ")
        .text(WIDTH)
        .raw(" ")
        .text(HEIGHT)
        .raw("\" role=\"img\" tabindex=\"0\" aria-label=\"");
    html.text(&topic.title)
        .text(if scale.log { ", logarithmic axis" } else { "" })
        .text(describe(series, steps))
        .raw("\">");
    axes(html, steps, scale);
    if banded {
        for (i, one) in series.iter().enumerate() {
            band(html, one, i, steps.len(), scale);
        }
    }
    // The main series comes last, so that it lies on top.
    for (i, one) in series.iter().enumerate().rev() {
        line(html, one, i, steps.len(), scale);
    }
    html.raw("<line class=\"cursor\" y1=\"")
        .text(TOP)
        .raw("\" y2=\"")
        .text(BOTTOM)
        .raw("\" visibility=\"hidden\"/></svg>");
}

/// What a listener hears in place of the drawing: where the main series starts and ends.
fn describe(series: &[Series<'_>], steps: &[u64]) -> String {
    let main = &series[0];
    let finite = || main.points.iter().zip(steps).filter_map(|(point, step)| Some((point.mean()?, step)));
    match (finite().next(), finite().next_back()) {
        (Some((first, from)), Some((last, to))) => {
            format!(": {} from {} at step {from} to {} at step {to}", main.name, compact(first), compact(last))
        }
        _ => String::new(),
    }
}

fn axes(html: &mut Html, steps: &[u64], scale: &Scale) {
    for &tick in &scale.ticks {
        let y = scale.y(tick);
        html.raw("<line class=\"grid\" x1=\"").text(LEFT).raw("\" x2=\"").text(RIGHT);
        html.raw("\" y1=\"").text(coordinate(y)).raw("\" y2=\"").text(coordinate(y)).raw("\"/>");
        html.raw("<text class=\"y\" x=\"").text(LEFT - 6.0).raw("\" y=\"").text(coordinate(y + 3.5)).raw("\">");
        html.text(compact(tick).replace(".00 ", " ").replace(".0 ", " ")).raw("</text>");
    }
    let last = steps.len() - 1;
    let mut at = vec![0, last / 2, last];
    at.dedup();
    for index in at {
        let class = if last == 0 || (index > 0 && index < last) {
            "xm"
        } else if index == 0 {
            "x0"
        } else {
            "x1"
        };
        html.raw("<text class=\"").text(class).raw("\" x=\"").text(coordinate(x(index, steps.len())));
        html.raw("\" y=\"")
            .text(BOTTOM + 15.0)
            .raw("\">")
            .text(if index == 0 { "step " } else { "" })
            .text(steps[index])
            .raw("</text>");
    }
    if scale.log {
        html.raw("<text class=\"x1\" x=\"").text(RIGHT).raw("\" y=\"").text(TOP + 8.0).raw("\">log</text>");
    }
}

/// The line of one series: a path with one part for each run of values, a dot for a lone value and for the last one.
fn line(html: &mut Html, series: &Series<'_>, index: usize, count: usize, scale: &Scale) {
    let mut path = String::new();
    let mut dots = Vec::new();
    let mut pen_down = false;
    for (i, point) in series.points.iter().enumerate() {
        match point {
            Point::Value { mean, .. } => {
                let (px, py) = (x(i, count), scale.y(*mean));
                path.push_str(&format!("{}{} {}", if pen_down { "L" } else { "M" }, coordinate(px), coordinate(py)));
                let next_is_value =
                    series.points[i + 1..].iter().find(|p| **p != Point::Absent).is_some_and(|p| p.mean().is_some());
                if !next_is_value && (!pen_down || series.points[i + 1..].iter().all(|p| p.mean().is_none())) {
                    dots.push((px, py));
                }
                pen_down = true;
            }
            Point::NotFinite => {
                pen_down = false;
                html.raw("<text class=\"nan\" x=\"")
                    .text(coordinate(x(i, count)))
                    .raw("\" y=\"")
                    .text(BOTTOM - 2.0)
                    .raw("\">×</text>");
            }
            // The line goes on over steps that do not report the metric: an evaluation every tenth step is still one curve.
            Point::Absent => {}
        }
    }
    html.raw("<path class=\"line s").text(index % COLOURS).raw("\" d=\"").text(path).raw("\"/>");
    for (px, py) in dots {
        html.raw("<circle class=\"dot s").text(index % COLOURS).raw("\" r=\"2.6\" cx=\"").text(coordinate(px));
        html.raw("\" cy=\"").text(coordinate(py)).raw("\"/>");
    }
}

fn band(html: &mut Html, series: &Series<'_>, index: usize, count: usize, scale: &Scale) {
    let mut upper = String::new();
    let mut lower = Vec::new();
    for (i, point) in series.points.iter().enumerate() {
        if let Point::Value { low, high, .. } = point {
            let px = coordinate(x(i, count));
            upper.push_str(&format!("{px},{} ", coordinate(scale.y(*high))));
            lower.push(format!("{px},{}", coordinate(scale.y(*low))));
        }
    }
    lower.reverse();
    html.raw("<polygon class=\"band s")
        .text(index % COLOURS)
        .raw("\" points=\"")
        .text(upper)
        .text(lower.join(" "))
        .raw("\"/>");
}

fn legend(html: &mut Html, series: &[Series<'_>]) {
    html.raw("<ul class=\"legend\">");
    for (i, one) in series.iter().enumerate() {
        let last = one.points.iter().rev().find_map(|point| point.mean());
        let values = one.points.iter().map(|point| match point {
            Point::Absent => "null".to_owned(),
            Point::NotFinite => "\"not finite\"".to_owned(),
            Point::Value { mean, .. } => format!("\"{}\"", compact(*mean)),
        });
        html.raw("<li data-values=\"")
            .text(json_list(values))
            .raw("\"><i class=\"key s")
            .text(i % COLOURS)
            .raw("\"></i><code>");
        html.text(one.name).raw("</code>");
        if one.not_finite > 0 {
            html.raw("<small class=\"bad\">").text(one.not_finite).raw(" not finite</small>");
        }
        html.raw("<output>").text(last.map_or_else(|| "–".to_owned(), compact)).raw("</output></li>");
    }
    html.raw("</ul>");
}

/// A number short enough for an axis.
fn compact(value: f64) -> String {
    if value.is_finite() && (1e4..1e26).contains(&value.abs()) { si(value) } else { number(value) }
}

/// A tenth of a unit is finer than a pixel.
fn coordinate(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn json_list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// A small line of scores between 0 and 1, for a tile. Its box is the whole range, so that tiles compare.
pub fn sparkline(html: &mut Html, scores: &[f64]) {
    const W: f64 = 150.0;
    const H: f64 = 44.0;
    let points: Vec<f64> = scores.iter().copied().filter(|score| score.is_finite()).collect();
    let Some((&last, _)) = points.split_last() else { return };
    let px = |i: usize| if points.len() < 2 { W - 4.0 } else { 4.0 + (W - 8.0) * i as f64 / (points.len() - 1) as f64 };
    let py = |score: f64| 4.0 + (H - 8.0) * (1.0 - score.clamp(0.0, 1.0));
    let path: Vec<String> = points
        .iter()
        .enumerate()
        .map(|(i, &score)| format!("{},{}", coordinate(px(i)), coordinate(py(score))))
        .collect();
    html.raw("<svg class=\"spark\" viewBox=\"0 0 ")
        .text(W)
        .raw(" ")
        .text(H)
        .raw("\" aria-hidden=\"true\"><polyline class=\"line s0\" points=\"");
    html.text(path.join(" ")).raw("\"/><circle class=\"dot s0\" r=\"3\" cx=\"").text(coordinate(px(points.len() - 1)));
    html.raw("\" cy=\"").text(coordinate(py(last))).raw("\"/></svg>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[Option<f64>]) -> Vec<MetricRow> {
        let row = |(step, value): (usize, &Option<f64>)| MetricRow {
            stage: "s".into(),
            kind: "rl".into(),
            step: step as u64,
            time_s: 0.0,
            metrics: value.iter().map(|v| ("m".to_owned(), *v)).collect(),
        };
        values.iter().enumerate().map(row).collect()
    }

    fn draw(values: &[Option<f64>], from_zero: bool) -> String {
        let rows = rows(values);
        let topic = Topic { title: "T".into(), unit: "", from_zero, metrics: vec!["m".into()] };
        let mut html = Html::default();
        figure(&mut html, &topic, &rows.iter().collect::<Vec<_>>());
        html.finish()
    }

    #[test]
    fn a_gap_breaks_the_line_only_where_a_value_is_not_a_number() {
        let absent = draw(&[Some(1.0), None, Some(2.0)], false);
        assert_eq!(absent.matches('M').count(), 1, "{absent}");
        let nan = draw(&[Some(1.0), Some(1.5), Some(f64::NAN), Some(2.0)], false);
        assert_eq!((nan.matches('M').count(), nan.matches('×').count()), (2, 1), "{nan}");
        assert!(
            nan.contains("1 not finite") && nan.contains("\"not finite\"".replace('"', "&quot;").as_str()),
            "{nan}"
        );
    }

    #[test]
    fn no_coordinate_is_ever_not_a_number() {
        let hard: [&[Option<f64>]; 8] = [
            &[],
            &[Some(f64::NAN)],
            &[Some(f64::INFINITY), Some(1.0)],
            &[Some(0.0), Some(0.0)],
            &[Some(f64::MAX), Some(f64::MIN)],
            &[Some(1.0), Some(1.0 + f64::EPSILON)],
            &[Some(5e-324), Some(1e300)],
            &[Some(-2.5)],
        ];
        for values in hard {
            for from_zero in [false, true] {
                let svg = draw(values, from_zero);
                assert!(!svg.contains("NaN") && !svg.contains("\"inf"), "{values:?}: {svg}");
            }
        }
        assert!(draw(&[Some(f64::NAN)], false).contains("No finite value"));
    }

    #[test]
    fn a_long_stage_is_drawn_in_slices_that_keep_its_spikes() {
        let values: Vec<Option<f64>> = (0..10_000).map(|i| Some(if i == 5000 { 50.0 } else { 1.0 })).collect();
        let svg = draw(&values, true);
        assert_eq!(steps_a_point(values.len()), 56);
        assert!(
            svg.contains(&format!(",{}", coordinate(Scale::new(1.0, 50.0, true).y(50.0)))),
            "the band reaches the spike"
        );
        assert!(svg.len() < 20_000, "{} bytes", svg.len());
    }
}

//! The tables as a picture: a panel per operation, a line per implementation, both axes by powers.
//! Up is slower: each line is how many times as long as ours an implementation takes.

use std::fmt::Write;

use crate::{contender::Operation, inputs::size_name, report::Report};

const PANEL: (f64, f64) = (330.0, 320.0);
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const GAP: f64 = 30.0;
/// The powers of two that the vertical axis spans, from half of ours.
const DOUBLINGS: (i32, i32) = (-1, 8);
const LEGEND_COLUMNS: usize = 3;
const LEGEND_LINE: f64 = 22.0;
/// Ours first; colours that those who see fewer colours can tell apart (Okabe and Ito), and a brown.
const COLOURS: [&str; 9] = [
    "#000000", "#d55e00", "#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#999999",
    "#8c510a",
];
/// How many of the implementations are ours; theirs are dashed.
const OURS: usize = 3;

pub fn svg(report: &Report) -> String {
    let names = report.names();
    let legend = TOP + PANEL.1 + 50.0;
    let lines = names.len().div_ceil(LEGEND_COLUMNS);
    let width = LEFT + 3.0 * (PANEL.0 + GAP);
    let height = legend + LEGEND_LINE * lines as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (i, operation) in Operation::ALL.into_iter().enumerate() {
        panel(&mut out, report, operation, LEFT + i as f64 * (PANEL.0 + GAP));
    }
    for (i, name) in names.into_iter().enumerate() {
        let x = LEFT + (i / lines) as f64 * (PANEL.0 + GAP);
        let y = legend + LEGEND_LINE * (i % lines) as f64;
        let (at, line) = (x + 40.0, y + 4.0);
        let _ = writeln!(
            out,
            "<path d=\"M{x} {y}h30\" {}/><text x=\"{at}\" y=\"{line}\">{name}</text>",
            stroke(i)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn stroke(implementation: usize) -> String {
    let colour = COLOURS[implementation % COLOURS.len()];
    let dashes = if implementation < OURS { "" } else { " stroke-dasharray=\"6 2\"" };
    format!("stroke=\"{colour}\" stroke-width=\"2\"{dashes}")
}

fn panel(out: &mut String, report: &Report, operation: Operation, left: f64) {
    let sizes = report.sizes();
    let bottom = TOP + PANEL.1;
    let step = PANEL.0 / sizes.len() as f64;
    let x = |i: usize| left + step * (i as f64 + 0.5);
    let y = |times: f64| {
        let span = f64::from(DOUBLINGS.1 - DOUBLINGS.0);
        bottom - (times.log2() - f64::from(DOUBLINGS.0)).clamp(0.0, span) / span * PANEL.1
    };
    let title = operation.title();
    let _ = writeln!(out, "<text x=\"{left}\" y=\"{}\">{title}, times ours</text>", TOP - 14.0);
    for doubling in DOUBLINGS.0..=DOUBLINGS.1 {
        let times = 2f64.powi(doubling);
        let at = y(times);
        let _ = writeln!(out, "<path d=\"M{left} {at:.1}h{}\" stroke=\"#dddddd\"/>", PANEL.0);
        if operation == Operation::ALL[0] {
            let (x, y) = (left - 8.0, at + 4.0);
            let _ =
                writeln!(out, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{times}</text>");
        }
    }
    for (i, &size) in sizes.iter().enumerate() {
        let (x, y, name) = (x(i), bottom + 18.0, size_name(size));
        let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{name}</text>");
    }
    let names = report.names();
    // Ours last, so that it lies on top.
    for (i, name) in names.iter().enumerate().rev() {
        let points: Vec<String> = sizes
            .iter()
            .enumerate()
            .filter_map(|(at, &size)| {
                let median = |name| report.row(operation, size, name).map(|row| row.median());
                Some(format!("{:.1},{:.1}", x(at), y(median(name)? / median(names.first()?)?)))
            })
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" {}/>",
            points.join(" "),
            stroke(i)
        );
    }
}

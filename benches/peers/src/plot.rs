//! The tables as a picture: a panel per operation, a line per implementation, both axes by powers.

use std::fmt::Write;

use crate::{contender::Operation, inputs::size_name, report::Report};

const PANEL: (f64, f64) = (330.0, 300.0);
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const GAP: f64 = 30.0;
/// The powers of ten, in nanoseconds, that the vertical axis spans.
const DECADES: (i32, i32) = (2, 6);
/// Ours first; colours that those who see fewer colours can tell apart (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#000000", "#d55e00", "#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#999999"];

pub fn svg(report: &Report) -> String {
    let legend = 22.0 * report.names().len() as f64;
    let width = LEFT + 3.0 * (PANEL.0 + GAP);
    let height = TOP + PANEL.1 + 50.0 + legend;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (i, operation) in Operation::ALL.into_iter().enumerate() {
        panel(&mut out, report, operation, LEFT + i as f64 * (PANEL.0 + GAP));
    }
    for (i, name) in report.names().into_iter().enumerate() {
        let y = TOP + PANEL.1 + 50.0 + 22.0 * i as f64;
        let colour = COLOURS[i % COLOURS.len()];
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {y}h30\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{}\" y=\"{}\">{name}</text>",
            LEFT + 40.0,
            y + 4.0,
        );
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, report: &Report, operation: Operation, left: f64) {
    let sizes = report.sizes();
    let bottom = TOP + PANEL.1;
    let step = PANEL.0 / sizes.len() as f64;
    let x = |i: usize| left + step * (i as f64 + 0.5);
    let y = |ns: f64| {
        let span = f64::from(DECADES.1 - DECADES.0);
        bottom - (ns.log10() - f64::from(DECADES.0)).clamp(0.0, span) / span * PANEL.1
    };
    let title = operation.title();
    let _ = writeln!(out, "<text x=\"{left}\" y=\"{}\">{title}, ns per cell</text>", TOP - 14.0);
    for decade in DECADES.0..=DECADES.1 {
        let at = y(10f64.powi(decade));
        let _ = writeln!(out, "<path d=\"M{left} {at:.1}h{}\" stroke=\"#dddddd\"/>", PANEL.0);
        if operation == Operation::ALL[0] {
            let label = format!("10<tspan dy=\"-5\" font-size=\"9\">{decade}</tspan>");
            let (x, y) = (left - 8.0, at + 4.0);
            let _ =
                writeln!(out, "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{label}</text>");
        }
    }
    for (i, &size) in sizes.iter().enumerate() {
        let (x, y, name) = (x(i), bottom + 18.0, size_name(size));
        let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{name}</text>");
    }
    // Ours last, so that it lies on top.
    for (i, name) in report.names().into_iter().enumerate().rev() {
        let points: Vec<String> = sizes
            .iter()
            .enumerate()
            .filter_map(|(at, &size)| {
                let ns = report.row(operation, size, name)?.median();
                Some(format!("{:.1},{:.1}", x(at), y(ns)))
            })
            .collect();
        let (colour, points) = (COLOURS[i % COLOURS.len()], points.join(" "));
        let _ = writeln!(
            out,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        );
    }
}

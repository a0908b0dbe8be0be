//! The kit as a page: one file, nothing loaded from elsewhere, no script.

use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

use super::{Kit, NO_TYPING, TITLE, WARNING, date};

pub(super) fn page(kit: &Kit) -> Zeroizing<String> {
    let mut page = Zeroizing::new(String::with_capacity(64 * 1024));
    page.push_str(HEAD);
    let mut add = |parts: &[&str]| {
        for part in parts {
            page.push_str(part);
        }
        page.push('\n');
    };
    add(&["<h1>", TITLE, "</h1>"]);
    add(&["<p class=date>", &date(kit.created), "</p>"]);
    add(&["<p>", &escaped(WARNING), "</p>"]);
    for (name, value) in [("Address", &kit.address), ("Recovery code", &*kit.code)] {
        add(&["<section><div><h2>", name, "</h2>"]);
        add(&["<p class=value>", &escaped(value), "</p></div>"]);
        if let Some(image) = image(value) {
            add(&[&image]);
        }
        add(&["</section>"]);
    }
    add(&["<h2>To get everything back on a bare machine</h2>", "<ol>"]);
    for step in kit.steps() {
        add(&["<li>", &escaped(&step.say)]);
        if let Some(command) = step.run {
            add(&["<pre>", &escaped(&command), "</pre>"]);
        }
        add(&["</li>"]);
    }
    add(&["</ol>", "<p>", &escaped(NO_TYPING), "</p>"]);
    add(&["<h2>To compare</h2>", "<table>"]);
    for (name, value) in kit.facts() {
        add(&["<tr><th>", name, "</th><td>", &escaped(&value), "</td></tr>"]);
    }
    add(&["</table>", "</body>", "</html>"]);
    page
}

/// A QR code as inline SVG; none for a text that is too long for one.
fn image(text: &str) -> Option<Zeroizing<String>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let width = code.width();
    let colors = code.to_colors();
    // Four modules of white around, as the standard wants.
    let side = width + 8;
    let mut svg = Zeroizing::new(String::with_capacity(16 * 1024));
    let head = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
         shape-rendering=\"crispEdges\"><rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/>\
         <path fill=\"#000\" d=\""
    );
    svg.push_str(&head);
    for (y, row) in colors.chunks(width).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|a, b| a == b) {
            if run.first() == Some(&Color::Dark) {
                let length = run.len();
                let run = Zeroizing::new(format!("M{} {}h{length}v1h-{length}z", x + 4, y + 4));
                svg.push_str(&run);
            }
            x += run.len();
        }
    }
    svg.push_str("\"/></svg>");
    Some(svg)
}

fn escaped(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 2));
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>Unseen recovery kit</title>
<style>
@page { size: auto; margin: 18mm; }
body { font: 11pt/1.4 sans-serif; color: #000; background: #fff; max-width: 42em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 20pt; margin: 0; }
h2 { font-size: 12pt; margin: 1.2em 0 0.3em; }
.date { margin: 0; color: #444; }
section { display: flex; gap: 1.5em; align-items: center; justify-content: space-between; break-inside: avoid; }
section div { min-width: 0; }
svg { width: 34mm; height: 34mm; flex: none; }
.value, pre, td { font-family: monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
.value { font-size: 13pt; margin: 0; }
pre { margin: 0.2em 0 0.5em; padding: 0.3em 0.6em; border: 1px solid #999; }
th { text-align: left; vertical-align: top; padding-right: 1.5em; font-weight: normal; }
li { break-inside: avoid; }
@media print { body { margin: 0; max-width: none; padding: 0; } }
</style>
</head>
<body>
"#;

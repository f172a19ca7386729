//! Columns of text on standard output.

use std::io::Write;

use anyhow::{Context, Result};

/// Prints what [`text`] makes.
pub fn print(head: &[&str], right: &[usize], rows: &[Vec<String>]) -> Result<()> {
    put(&text(head, right, rows))
}

/// Left-aligned columns two spaces apart; those named in `right` are right-aligned. No line ends in a space.
pub fn text(head: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    // Descriptions of plugins, histories of images: what others wrote is text and nothing else.
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| crate::report::in_line(cell)).collect()).collect();
    let rows = &rows;
    let mut widths = vec![0; head.len()];
    for row in std::iter::once(&head).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            let gap = " ".repeat(widths[column] - cell.chars().count());
            match (right.contains(&column), column + 1 == row.len()) {
                (true, _) => text.extend([&gap, cell.as_str()]),
                (false, true) => text.push_str(cell),
                (false, false) => text.extend([cell, gap.as_str()]),
            }
            if column + 1 < row.len() {
                text.push_str("  ");
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// Writes to standard output; the caller ends quietly when nobody reads there any more.
pub fn put(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("could not write to standard output")
}

//! Numbers as people read them.

use std::time::Duration;

pub use crate::sets::values::{ParseSizeError, parse_size};

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A number of bytes in IEC units, one decimal unless it is zero: `0 B`, `4.1 MiB`, `2 MiB`.
pub fn bytes(n: u64) -> String {
    if n < 1024 {
        return format!("{n} B");
    }
    let mut unit = 1024_u128;
    let mut names = UNITS.iter();
    let mut name = names.next().copied().unwrap_or_default();
    loop {
        let tenths = (u128::from(n) * 10 + unit / 2) / unit;
        match names.next() {
            // 1023.96 KiB would round to 1024 KiB.
            Some(larger) if tenths >= 10240 => {
                unit *= 1024;
                name = larger;
            }
            _ if tenths.is_multiple_of(10) => return format!("{} {name}", tenths / 10),
            _ => return format!("{}.{} {name}", tenths / 10, tenths % 10),
        }
    }
}

/// A number with its thousands apart: `79 412`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Minutes and seconds, hours only if there are any: `0:01`, `1:02:03`. Rounded to seconds.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_millis() >= 500);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// `1 file`, `2 files`.
pub fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows in columns two spaces apart, each line without trailing space.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|&(name, align)| (name.to_owned(), align));
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The headings, a rule, and the rows.
    pub fn lines(&self) -> Vec<String> {
        let headings: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let rows = self.rows.iter().chain([&headings]);
                let cells = rows.filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1));
        let mut lines = vec![self.line(&headings, &widths), rule];
        lines.extend(self.rows.iter().map(|row| self.line(row, &widths)));
        lines
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut out = String::new();
        for (index, ((_, align), &width)) in self.columns.iter().zip(widths).enumerate() {
            let cell = row.get(index).map_or("", String::as_str);
            if index > 0 {
                out.push_str("  ");
            }
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => out.extend([cell, &padding]),
                Align::Right => out.extend([&padding, cell]),
            }
        }
        out.truncate(out.trim_end().len());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1 MiB"),
            (2 << 20, "2 MiB"),
            (4_299_162, "4.1 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn counts_and_times() {
        for (n, text) in
            [(0, "0"), (999, "999"), (1000, "1 000"), (79_412, "79 412"), (1_234_567, "1 234 567")]
        {
            assert_eq!(count(n), text);
        }
        for (millis, text) in [
            (0, "0:00"),
            (1400, "0:01"),
            (59_600, "1:00"),
            (3_723_000, "1:02:03"),
            (360_000_000, "100:00:00"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(plural(1, "file", "files"), "1 file");
        assert_eq!(plural(1200, "file", "files"), "1 200 files");
    }

    #[test]
    fn tables() {
        let mut table =
            Table::new(&[("ID", Align::Left), ("Size", Align::Right), ("Path", Align::Left)]);
        table.row(["a", "1", "/x"]);
        table.row(["bcd", "1000000", ""]);
        assert_eq!(
            table.lines(),
            ["ID      Size  Path", "------------------", "a          1  /x", "bcd  1000000",]
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_is_about_what_it_was(n: u64) {
            let back = parse_size(&bytes(n).replace(" EiB", "P"));
            if n < 1 << 60 {
                let back = back.unwrap();
                prop_assert!(back.abs_diff(n) <= n / 20 + 1, "{n} {back}");
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,20}") {
            if let Ok(n) = parse_size(&text) {
                prop_assert!(text.contains(|c: char| c.is_ascii_digit()), "{}", n);
            }
        }
    }
}

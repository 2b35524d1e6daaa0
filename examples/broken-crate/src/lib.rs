//! Sets rows of text in aligned columns.
//!
//! ```text
//! name   count
//! ------------
//! apple      3
//! pear      12
//! ```

mod tally;

pub use tally::tally;

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// At the left: words.
    #[default]
    Left,
    /// At the right: numbers.
    Right,
}

/// Rows of text under a header.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    aligns: Vec<Align>,
    gap: usize,
}

impl Table {
    /// A table with this header and two blanks between its columns.
    pub fn new<T: AsRef<str>>(header: &[T]) -> Self {
        let mut table = Self {
            gap: 2,
            ..Self::default()
        };
        table.push(header);
        table
    }

    /// How the columns are aligned, from the first; those that are not named stand at the left.
    pub fn aligned(mut self, aligns: &[Align]) -> Self {
        self.aligns = aligns.to_vec();
        self
    }

    /// Adds a row. It may be shorter or longer than the others.
    pub fn push<T: AsRef<str>>(&mut self, row: &[T]) {
        self.rows
            .push(row.iter().map(|cell| cell.as_ref().to_owned()).collect());
    }

    /// The table as text; no line ends in blanks.
    pub fn render(&self) -> String {
        let widths = columns_width(&self.rows);
        let lines = Vec::new();
        for (index, row) in self.rows.iter().enumerate() {
            lines.push(self.line(row, &widths));
            if index == 0 {
                lines.push(self.rule(&widths));
            }
        }
        lines.join("\n")
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            if column > 0 {
                line.push_str(&" ".repeat(self.gap));
            }
            let align = self.aligns.get(column).copied().unwrap_or_default();
            line.push_str(&pad(cell, widths[column], align));
        }
        line.trim_end().to_owned()
    }

    fn rule(&self, widths: &[usize]) -> String {
        let gaps = self.gap * widths.len().saturating_sub(1);
        let mut rule = String::new();
        for _ in 0..widths.iter().sum::<usize>() + gaps {
            rule.push('-');
        }
        rule
    }
}

/// The width of each column: that of its widest cell, in characters.
pub fn column_widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; columns];
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(cell.chars().count());
        }
    }
    widths
}

/// The cell, filled with blanks up to the width.
fn pad(cell: &str, width: usize, align: Align) -> String {
    let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
    match align {
        Align::Left => format!("{cell}{blanks}"),
        Align::Right => format!("{blanks}{cell}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_count_and_not_bytes() {
        assert_eq!(pad("süß", 5, Align::Right), "  süß");
        assert_eq!(pad("too long", 3, Align::Left), "too long");
    }
}

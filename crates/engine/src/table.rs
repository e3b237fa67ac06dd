//! Aligned plain-text tables for standard output.

use std::fmt::{self, Write as _};

/// On which side of its column a text lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table that prints with one line for the header, a rule, and one line for each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Row {
    Cells(Vec<String>),
    Rule,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        Self { columns: columns.iter().map(|&(name, align)| (name.to_owned(), align)).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// The number of cells differs from the number of columns.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.columns.len(), "a row needs one cell for each column");
        self.rows.push(Row::Cells(cells));
        self
    }

    /// Adds a rule that parts the rows above from those below.
    pub fn rule(&mut self) -> &mut Self {
        self.rows.push(Row::Rule);
        self
    }

    /// The width of each column (characters).
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| name.chars().count()).collect();
        for row in &self.rows {
            if let Row::Cells(cells) = row {
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(cell.chars().count());
                }
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GAP: &str = "  ";
        let widths = self.widths();
        let line = |f: &mut fmt::Formatter<'_>, cells: &mut dyn Iterator<Item = &String>| {
            let mut text = String::new();
            for ((cell, &width), (_, align)) in cells.zip(&widths).zip(&self.columns) {
                match align {
                    Align::Left => write!(text, "{cell:<width$}{GAP}")?,
                    Align::Right => write!(text, "{cell:>width$}{GAP}")?,
                }
            }
            writeln!(f, "{}", text.trim_end())
        };
        let rule = "-".repeat(widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1));
        line(f, &mut self.columns.iter().map(|(name, _)| name))?;
        writeln!(f, "{rule}")?;
        for row in &self.rows {
            match row {
                Row::Cells(cells) => line(f, &mut cells.iter())?,
                Row::Rule => writeln!(f, "{rule}")?,
            }
        }
        Ok(())
    }
}

/// A number with three decimals; with three significant digits where that would hide it; a dash for NaN.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        _ if value.is_infinite() => value.to_string(),
        size if size != 0.0 && !(1e-3..1e6).contains(&size) => format!("{value:.2e}"),
        _ => format!("{value:.3}"),
    }
}

/// A confidence interval: `[0.712, 0.790]`.
pub fn interval(low: f64, high: f64) -> String {
    format!("[{}, {}]", number(low), number(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("metric", Align::Left), ("value", Align::Right), ("95 % interval", Align::Left)]);
        table.row(["zero-shot AUROC".to_owned(), number(0.8514), interval(0.83, 0.87)]);
        table.rule();
        table.row(["n", "512", ""]);
        let expected = "\
metric           value  95 % interval
--------------------------------------
zero-shot AUROC  0.851  [0.830, 0.870]
--------------------------------------
n                  512
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn numbers_never_round_to_nothing() {
        let cases = [
            (0.0, "0.000"),
            (0.5, "0.500"),
            (-1.23456, "-1.235"),
            (0.0001, "1.00e-4"),
            (0.001, "0.001"),
            (999_999.0, "999999.000"),
            (-2_500_000.0, "-2.50e6"),
            (f64::NAN, "-"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    #[should_panic(expected = "one cell for each column")]
    fn a_row_of_the_wrong_length_is_a_mistake() {
        Table::new(&[("a", Align::Left)]).row(["x", "y"]);
    }
}

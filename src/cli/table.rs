//! Tables for people: columns as wide as they need to be, no lines.

/// Lays out rows under a head. The last column is not padded.
pub(super) fn lay_out<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let mut widths = [0; N];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in all() {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a", "bb", "c"], ["äöü", "", "-"]].map(|row| row.map(str::to_owned));
        assert_eq!(lay_out(["X", "YYY", "Z"], &rows), "X    YYY  Z\na    bb   c\näöü       -\n");
    }
}

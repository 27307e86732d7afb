//! Tables in the layout of Kafka's tools: columns as wide as their widest cell and at least as wide as there, a space between them.

/// A column: its name, and how wide it is at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column(pub(super) &'static str, pub(super) usize);

/// Lines the cells up. Each row has as many as there are columns. Nothing stands behind the last word of a line.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let width = |(index, column): (usize, &Column)| {
        let cells = rows.iter().map(|row| row[index].chars().count());
        cells.chain([column.0.len(), column.1]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join(" ").trim_end())
    };
    let mut text = line(&mut columns.iter().map(|column| column.0));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// What stands where there is nothing to tell.
pub(super) fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_at_least_as_asked() {
        let columns = [Column("GROUP", 8), Column("LAG", 0), Column("HOST", 9)];
        let rows = [
            vec!["a".to_owned(), "12345".to_owned(), "/10.0.0.1".to_owned()],
            vec!["a-long-name".to_owned(), shown(None::<i64>), String::new()],
        ];
        let expected = "GROUP       LAG   HOST\na           12345 /10.0.0.1\na-long-name -\n";
        assert_eq!(table(&columns, &rows), expected);
    }
}

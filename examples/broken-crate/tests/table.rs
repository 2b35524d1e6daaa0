//! The crate as its users see it.

use columns::{Align, Table, columns_width, tally};

#[test]
fn a_table_is_aligned() {
    let mut table = Table::new(&["name", "count"]).aligned(&[Align::Left, Align::Right]);
    table.push(&["apple", "3"]);
    table.push(&["pear", "12"]);
    let expected = "name   count\n------------\napple      3\npear      12";
    assert_eq!(table.render(), expected);
}

#[test]
fn the_widest_cell_decides() {
    let rows = [vec!["a".to_owned()], vec!["abc".to_owned(), "x".to_owned()]];
    let widths = columns_width(&rows);
    assert_eq!(widths, [3, 1]);
}

#[test]
fn words_are_counted_in_order() {
    let counts: Vec<_> = tally("To be or not to be").into_iter().collect();
    let expected = [("be", 2), ("not", 1), ("or", 1), ("to", 2)];
    assert_eq!(
        counts,
        expected.map(|(word, count)| (word.to_owned(), count))
    );
}

//! Where some lines stand among others.

/// The first place at or behind `from` where `wanted` stands in `lines`, in time linear in both
/// (Knuth, Morris and Pratt). Nothing stands everywhere.
pub(super) fn position<T: PartialEq>(lines: &[T], wanted: &[T], from: usize) -> Option<usize> {
    // How many of the first wanted ones the lines up to here end with, by their number.
    let mut borders = vec![0; wanted.len()];
    let mut border = 0;
    for at in 1..wanted.len() {
        border = longer(&borders, wanted, border, &wanted[at]);
        borders[at] = border;
    }
    let mut fit = 0;
    for (at, line) in lines.iter().enumerate().skip(from) {
        if fit == wanted.len() {
            break;
        }
        fit = longer(&borders, wanted, fit, line);
        if fit == wanted.len() {
            return Some(at + 1 - fit);
        }
    }
    (wanted.is_empty() && from <= lines.len()).then_some(from)
}

/// How many fit with one line more.
fn longer<T: PartialEq>(borders: &[usize], wanted: &[T], mut fit: usize, line: &T) -> usize {
    while fit > 0 && wanted.get(fit) != Some(line) {
        fit = borders[fit - 1];
    }
    if wanted.get(fit) == Some(line) { fit + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_first_window_that_is_equal(
            lines in prop::collection::vec(0..3u8, 0..30),
            wanted in prop::collection::vec(0..3u8, 1..5),
            from in 0..32usize,
        ) {
            let windows = lines.windows(wanted.len()).enumerate().skip(from);
            let expected = windows.into_iter().find(|(_, window)| *window == wanted);
            prop_assert_eq!(position(&lines, &wanted, from), expected.map(|(at, _)| at));
        }
    }

    #[test]
    fn what_nearly_repeats_takes_no_longer() {
        // A comparison of each window would take 10^10 steps.
        let lines = vec!["x"; 200_000];
        let wanted: Vec<&str> = std::iter::repeat_n("x", 100_000).chain(["y"]).collect();
        assert_eq!(position(&lines, &wanted, 0), None);
        assert_eq!(position(&lines, &lines[..1_000], 7), Some(7));
        assert_eq!(position(&lines, &[], 7), Some(7));
    }
}

//! Delta debugging over a list: which of its parts can go.

use super::{Cut, Effort, Search};

/// Cuts parts out of a list of `count` while what is left still fails: first all of it, then half of it, …, one by one. `build`
/// makes the candidate in which only the parts with these indexes are left; `None` where that is no scenario.
///
/// Returns whether anything went.
pub(super) fn minimize(
    search: &mut Search<'_>,
    count: usize,
    build: impl Fn(&[usize]) -> Option<Cut>,
) -> bool {
    let mut kept: Vec<usize> = (0..count).collect();
    let mut any = false;
    let mut size = count;
    while size > 0 && !kept.is_empty() {
        any |= without_windows(search, &mut kept, size, &build);
        size = match size {
            // The last round is gone through again until it takes nothing more away.
            1 => {
                if !without_windows(search, &mut kept, 1, &build) {
                    break;
                }
                any = true;
                1
            }
            size => size.div_ceil(2),
        };
    }
    any
}

/// Goes once through the list, and takes each window of `size` parts away that can go.
fn without_windows(
    search: &mut Search<'_>,
    kept: &mut Vec<usize>,
    size: usize,
    build: &impl Fn(&[usize]) -> Option<Cut>,
) -> bool {
    let mut any = false;
    // The end first: what happened late is the least likely cause of what failed.
    let mut end = kept.len();
    while end > 0 {
        let windows: Vec<(usize, usize)> = windows(end, size);
        let rest: Vec<Vec<usize>> =
            windows.iter().map(|(from, to)| [&kept[..*from], &kept[*to..]].concat()).collect();
        let cuts: Vec<(usize, Cut)> =
            rest.iter().enumerate().filter_map(|(at, rest)| Some((at, build(rest)?))).collect();
        let (places, cuts): (Vec<usize>, Vec<Cut>) = cuts.into_iter().unzip();
        let Some(taken) = search.take(cuts, Effort::Usual) else { break };
        let at = places[taken];
        *kept = rest[at].clone();
        end = windows[at].0;
        any = true;
    }
    any
}

/// The windows of `size` in `0..end`, the last first.
fn windows(end: usize, size: usize) -> Vec<(usize, usize)> {
    let mut windows = Vec::new();
    let mut to = end;
    while to > 0 {
        let from = to.saturating_sub(size);
        windows.push((from, to));
        to = from;
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_everything_from_the_end() {
        assert_eq!(windows(5, 2), [(3, 5), (1, 3), (0, 1)]);
        assert_eq!(windows(3, 8), [(0, 3)]);
        assert_eq!(windows(0, 1), []);
    }
}

//! Which items a verifier has to judge together, so that no verdict depends on when the items came.

use data::Item;

use crate::plugin::protocol::group_of;

/// What the verdict on an item may depend on beside the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// Nothing: items may share a call as it happens.
    Alone,
    /// The others of its batch: this many items, counted from the first.
    Batches(usize),
    /// The other samples of its prompt, which stand one behind another.
    Groups,
}

impl Together {
    /// How many of the first `lines` make whole calls and may be judged now. A line that holds no item is `None` and counts for nothing.
    /// Once no line is to come any more, all of them may.
    pub fn whole(self, lines: &[Option<&Item>], ended: bool) -> usize {
        if ended {
            return lines.len();
        }
        match self {
            Self::Alone => lines.len(),
            Self::Batches(size) => {
                let items = lines.iter().flatten().count();
                let whole = items - items % size.max(1);
                let mut counted = 0;
                lines
                    .iter()
                    .take_while(|line| {
                        line.is_none() || {
                            counted += 1;
                            counted <= whole
                        }
                    })
                    .count()
            }
            Self::Groups => {
                let last = lines.iter().flatten().last().map(|item| group_of(&item.id));
                let of_last = |line: &Option<&Item>| line.is_some_and(|item| Some(group_of(&item.id)) == last);
                // From the end, up to the first line of another group.
                let other = lines.iter().rposition(|line| line.is_some() && !of_last(line)).map_or(0, |at| at + 1);
                lines[other..].iter().position(of_last).map_or(lines.len(), |at| other + at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(together: Together, ids: &[&str]) -> usize {
        let item = |id: &&str| {
            (!id.is_empty()).then(|| -> Item {
                serde_json::from_value(serde_json::json!({"id": id, "completion": ""})).expect("an item")
            })
        };
        let items: Vec<Option<Item>> = ids.iter().map(item).collect();
        let lines: Vec<Option<&Item>> = items.iter().map(Option::as_ref).collect();
        assert_eq!(together.whole(&lines, true), ids.len(), "at the end nothing waits");
        together.whole(&lines, false)
    }

    #[test]
    fn what_is_judged_now_holds_whole_batches_and_whole_groups() {
        use Together::{Alone, Batches, Groups};
        for (together, ids, expected) in [
            (Alone, &["a", "", "b"][..], 3),
            (Batches(2), &[], 0),
            (Batches(2), &["a"], 0),
            (Batches(2), &["a", "b"], 2),
            (Batches(2), &["a", "b", "c"], 2),
            // A line that is no item is answered as soon as what stands before it is.
            (Batches(2), &["", "a", "", "b", "", "c", ""], 5),
            (Batches(2), &["", ""], 2),
            (Groups, &[], 0),
            (Groups, &["p#0", "p#1"], 0),
            (Groups, &["p#0", "p#1", "q#0"], 2),
            (Groups, &["p#0", "", "p#1", "", "q#0", "", "q#1"], 4),
            (Groups, &["p#0", "q#0", "p#1"], 2),
            (Groups, &["", ""], 2),
            (Groups, &["a", "b"], 1),
        ] {
            assert_eq!(whole(together, ids), expected, "{together:?} of {ids:?}");
        }
    }
}

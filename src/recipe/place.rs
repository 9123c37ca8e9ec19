//! From a byte range or a path of keys to a line of the recipe's text.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Place;

/// A recipe's text with the name of its file.
#[derive(Clone, Copy)]
pub(super) struct SourceText<'a> {
    /// The file's name, as the user gave it.
    pub file: &'a str,
    /// The whole text.
    pub text: &'a str,
}

impl SourceText<'_> {
    /// The place of a byte range; a range over several lines is cut at the end of its first.
    pub fn at(&self, range: Range<usize>) -> Place {
        let start = range.start.min(self.text.len());
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[line_start..].lines().next().unwrap_or("");
        let end = range.end.clamp(start, (line_start + line.len()).max(start));
        Place::Line {
            file: self.file.to_owned(),
            line: self.text[..start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            // A tab is one column here, so that the underline stands where the text does.
            text: line.replace('\t', " "),
            width: self.text[start..end].chars().count().max(1),
        }
    }

    /// The place of the deepest key of `path` that the text holds.
    pub fn of(&self, path: &[String]) -> Place {
        let whole_file = Place::File(self.file.to_owned());
        let Ok(root) = DeTable::parse(self.text) else { return whole_file };
        let Some(((_, mut span), mut value)) = entry(root.get_ref(), path.first()) else { return whole_file };
        for key in &path[1..] {
            let next = match value.get_ref() {
                DeValue::Table(table) => entry(table, Some(key)),
                DeValue::Array(items) => {
                    key.parse().ok().and_then(|i: usize| items.get(i)).map(|item| (("", item.span()), item))
                }
                _ => None,
            };
            let Some(((_, key_span), item)) = next else { break };
            (span, value) = (key_span, item);
        }
        self.at(span)
    }
}

type Entry<'a, 'i> = ((&'a str, Range<usize>), &'a Spanned<DeValue<'i>>);

fn entry<'a, 'i>(table: &'a DeTable<'i>, key: Option<&String>) -> Option<Entry<'a, 'i>> {
    let key = key?;
    let (name, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
    Some(((name.get_ref(), name.span()), value))
}

//! JSON arrays (§5.2): what is written comes back, and everything else is told apart.

use crate::json::{self, Array};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::texts::line;

/// A character as JSON text, in one of the ways that it can be written.
fn letter() -> impl Strategy<Value = (char, String)> {
    (any::<char>(), any::<bool>()).prop_map(|(c, escaped)| {
        let short = match c {
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '\n' => Some("\\n"),
            '\r' => Some("\\r"),
            '\t' => Some("\\t"),
            _ => None,
        };
        let units = || c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect();
        let written = match short {
            Some(short) if escaped => short.to_owned(),
            Some(_) => units(),
            None if escaped || c.is_control() => units(),
            None => c.to_string(),
        };
        (c, written)
    })
}

fn string() -> impl Strategy<Value = (String, String)> {
    vec(letter(), 0..8).prop_map(|letters| {
        let (value, written): (String, String) = letters.into_iter().unzip();
        (value, format!("\"{written}\""))
    })
}

fn blanks() -> impl Strategy<Value = &'static str> {
    select(vec!["", " ", "\t", "  ", "\r"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn an_array_of_strings_comes_back(elements in vec((blanks(), string(), blanks()), 0..6), end in blanks()) {
        let written: Vec<_> = elements.iter().map(|(before, (_, text), after)| format!("{before}{text}{after}")).collect();
        let text = format!("[{}]{end}", written.join(","));
        let Array::Strings(found) = json::read(&text) else { panic!("{text}") };
        prop_assert_eq!(found.len(), elements.len());
        for (element, (_, (value, written), _)) in found.iter().zip(&elements) {
            prop_assert_eq!(&element.value, value);
            prop_assert_eq!(&text[element.range.clone()], written);
        }
        // Anything behind it makes it something else.
        prop_assert_eq!(json::read(&format!("{text}x")), Array::NotArray);
    }

    #[test]
    fn an_element_that_is_no_string_is_found(
        before in vec(string(), 0..3),
        other in select(vec!["1", "-0.5e+3", "true", "null", "[\"a\", []]", "{\"a\": {\"b\": 1}}"]),
        after in vec(string(), 0..3),
    ) {
        let all: Vec<&str> = before.iter().map(|(_, text)| text.as_str()).chain([other]).chain(after.iter().map(|(_, text)| text.as_str())).collect();
        let text = format!("[{}]", all.join(", "));
        let Array::NotStrings(range) = json::read(&text) else { panic!("{text}") };
        prop_assert_eq!(&text[range], other);
    }

    #[test]
    fn no_text_makes_it_panic(text in line(), cut in any::<prop::sample::Index>()) {
        for text in [text.as_str(), &format!("[{text}"), &format!("[\"{text}\"]")] {
            let at = text.floor_char_boundary(cut.index(text.len() + 1));
            for part in [text, &text[..at]] {
                match json::read(part) {
                    Array::Strings(elements) => {
                        for element in elements {
                            prop_assert!(part[element.range].starts_with('"'));
                        }
                    }
                    Array::NotStrings(range) => prop_assert!(!part[range].is_empty()),
                    Array::NotArray => {}
                }
            }
        }
    }
}

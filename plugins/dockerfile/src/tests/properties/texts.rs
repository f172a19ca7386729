//! How random texts are made: out of the pieces that parsers stumble over, so that most of them nearly mean something.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Pieces of build files.
const PIECES: [&str; 72] = [
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "ENV",
    "ARG",
    "LABEL",
    "CMD",
    "ONBUILD",
    "HEALTHCHECK",
    "EXPOSE",
    "from",
    "scratch",
    " AS ",
    " ",
    "  ",
    "\t",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\\\n",
    "\\ \n",
    "\\\\\n",
    "\\\\\\\n",
    "`\n",
    "\\",
    "`",
    "#",
    "# c\n",
    "# escape=`\n",
    "# escape=\\\n",
    "# syntax=x\n",
    "# check=skip=all\n",
    "\u{feff}",
    "<<",
    "<<-",
    "<<<",
    "<<EOF",
    "<<'E F'",
    "<<\"E\"",
    "3<<E",
    "EOF\n",
    "\tEOF\n",
    "E F\n",
    "E\n",
    "--",
    "--from=",
    "--mount=type=cache,",
    "--a=b",
    "=",
    "a=b",
    "'",
    "\"",
    "$",
    "${",
    "}",
    "$a",
    "${a:-",
    "${a/",
    "[",
    "]",
    "[\"a\", ",
    "\"b\"]",
    ",",
    "{",
    ":",
    "é",
    "\u{1f600}",
    "\u{a0}",
    "\u{301}",
    "\0",
];

/// A text of up to about a hundred pieces.
pub(super) fn build_file() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => select(&PIECES[..]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..100).prop_map(|pieces| pieces.concat())
}

/// One line of such pieces.
pub(super) fn line() -> impl Strategy<Value = String> {
    build_file().prop_map(|text| text.replace(['\n', '\r'], " "))
}

/// A few characters of `alphabet`.
pub(super) fn word(alphabet: &'static str, most: usize) -> impl Strategy<Value = String> {
    let letters: Vec<char> = alphabet.chars().collect();
    vec(select(letters), 0..=most).prop_map(String::from_iter)
}

//! Values of the contract as JSON, spelled as the contract spells them: `working-dir`, `make-file`, never as Rust does.
//!
//! An enum is its word, a variant is an object of one member, an absent option is `null`. Bytes that are UTF-8 text are a
//! string, others `{"hex": …}`, so that a person can read what a file is to hold.

use std::cell::Cell;
use std::fmt::{self, Write};

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::ser::{self, Serialize};
use serde_json::{Map, Value};

/// A value cannot be written as JSON, or JSON is not the value that was wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SpellingError(String);

impl ser::Error for SpellingError {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

impl de::Error for SpellingError {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

/// # Panics
///
/// For what no type of the contract holds.
pub(crate) fn write<T: Serialize + ?Sized>(value: &T) -> Value {
    value.serialize(Writer(&Cell::new(false))).expect("every value of the contract can be written")
}

/// # Errors
///
/// When `value` is of another shape; says which.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, SpellingError> {
    T::deserialize(Reader(value))
}

/// `make_dir` and `MakeDir` as `make-dir`.
fn spelled(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    for (index, letter) in name.trim_end_matches('_').char_indices() {
        match letter {
            '_' => out.push('-'),
            'A'..='Z' => {
                if index > 0 {
                    out.push('-');
                }
                out.push(letter.to_ascii_lowercase());
            }
            _ => out.push(letter),
        }
    }
    out
}

/// Says in the cell whether it has written a byte.
#[derive(Clone, Copy)]
struct Writer<'a>(&'a Cell<bool>);

type Written = Result<Value, SpellingError>;

fn is_not_in_the_contract(what: &str) -> Written {
    Err(SpellingError(format!("the contract has no {what}")))
}

impl<'a> ser::Serializer for Writer<'a> {
    type Ok = Value;
    type Error = SpellingError;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = ser::Impossible<Value, SpellingError>;
    type SerializeMap = ser::Impossible<Value, SpellingError>;
    type SerializeStruct = Record;
    type SerializeStructVariant = ser::Impossible<Value, SpellingError>;

    fn serialize_bool(self, it: bool) -> Written {
        Ok(it.into())
    }
    fn serialize_i8(self, it: i8) -> Written {
        Ok(it.into())
    }
    fn serialize_i16(self, it: i16) -> Written {
        Ok(it.into())
    }
    fn serialize_i32(self, it: i32) -> Written {
        Ok(it.into())
    }
    fn serialize_i64(self, it: i64) -> Written {
        Ok(it.into())
    }
    fn serialize_u8(self, it: u8) -> Written {
        self.0.set(true);
        Ok(it.into())
    }
    fn serialize_u16(self, it: u16) -> Written {
        Ok(it.into())
    }
    fn serialize_u32(self, it: u32) -> Written {
        Ok(it.into())
    }
    fn serialize_u64(self, it: u64) -> Written {
        Ok(it.into())
    }
    fn serialize_f32(self, _: f32) -> Written {
        is_not_in_the_contract("fraction")
    }
    fn serialize_f64(self, _: f64) -> Written {
        is_not_in_the_contract("fraction")
    }
    fn serialize_char(self, it: char) -> Written {
        Ok(it.to_string().into())
    }
    fn serialize_str(self, it: &str) -> Written {
        Ok(it.into())
    }
    fn serialize_bytes(self, it: &[u8]) -> Written {
        Ok(bytes(it.to_vec()))
    }
    fn serialize_none(self) -> Written {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, it: &T) -> Written {
        it.serialize(self)
    }
    fn serialize_unit(self) -> Written {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Written {
        Ok(Value::Null)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        Ok(spelled(variant).into())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, it: &T) -> Written {
        it.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        it: &T,
    ) -> Written {
        let value = it.serialize(Writer(&Cell::new(false)))?;
        Ok(Value::Object(Map::from_iter([(spelled(variant), value)])))
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<List, SpellingError> {
        Ok(List { values: Vec::new(), others: false })
    }
    fn serialize_tuple(self, _: usize) -> Result<List, SpellingError> {
        Ok(List { values: Vec::new(), others: true })
    }
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<List, SpellingError> {
        self.serialize_tuple(len)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, SpellingError> {
        is_not_in_the_contract("variant of several values").map(|_| unreachable!())
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, SpellingError> {
        is_not_in_the_contract("map").map(|_| unreachable!())
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Record, SpellingError> {
        Ok(Record(Map::new()))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, SpellingError> {
        is_not_in_the_contract("variant with members").map(|_| unreachable!())
    }
}

struct List {
    values: Vec<Value>,
    /// Something in it is no byte.
    others: bool,
}

impl List {
    fn push<T: Serialize + ?Sized>(&mut self, it: &T) -> Result<(), SpellingError> {
        let byte = Cell::new(false);
        self.values.push(it.serialize(Writer(&byte))?);
        self.others |= !byte.get();
        Ok(())
    }

    fn finish(self) -> Written {
        if self.others || self.values.is_empty() {
            return Ok(Value::Array(self.values));
        }
        let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
        Ok(bytes(self.values.iter().filter_map(byte).collect()))
    }
}

fn bytes(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => Value::String(text),
        Err(error) => {
            let mut hex = String::new();
            for byte in error.as_bytes() {
                let _ = write!(hex, "{byte:02x}");
            }
            Value::Object(Map::from_iter([("hex".to_owned(), Value::String(hex))]))
        }
    }
}

impl ser::SerializeSeq for List {
    type Ok = Value;
    type Error = SpellingError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, it: &T) -> Result<(), SpellingError> {
        self.push(it)
    }
    fn end(self) -> Written {
        self.finish()
    }
}

impl ser::SerializeTuple for List {
    type Ok = Value;
    type Error = SpellingError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, it: &T) -> Result<(), SpellingError> {
        self.push(it)
    }
    fn end(self) -> Written {
        self.finish()
    }
}

impl ser::SerializeTupleStruct for List {
    type Ok = Value;
    type Error = SpellingError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, it: &T) -> Result<(), SpellingError> {
        self.push(it)
    }
    fn end(self) -> Written {
        self.finish()
    }
}

struct Record(Map<String, Value>);

impl ser::SerializeStruct for Record {
    type Ok = Value;
    type Error = SpellingError;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        it: &T,
    ) -> Result<(), SpellingError> {
        self.0.insert(spelled(name), it.serialize(Writer(&Cell::new(false)))?);
        Ok(())
    }
    fn end(self) -> Written {
        Ok(Value::Object(self.0))
    }
}

#[derive(Clone, Copy)]
struct Reader<'a>(&'a Value);

impl<'a> Reader<'a> {
    fn wrong<T>(self, wanted: &str) -> Result<T, SpellingError> {
        let found = match self.0 {
            Value::Null => "null".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            simple => simple.to_string(),
        };
        Err(SpellingError(format!("there is {found} where {wanted} belongs")))
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = SpellingError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SpellingError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(it) => visitor.visit_bool(*it),
            Value::Number(it) => match (it.as_u64(), it.as_i64()) {
                (Some(it), _) => visitor.visit_u64(it),
                (None, Some(it)) => visitor.visit_i64(it),
                (None, None) => self.wrong("a whole number"),
            },
            Value::String(it) => visitor.visit_str(it),
            Value::Array(_) | Value::Object(_) => self.wrong("a simple value"),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SpellingError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, SpellingError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SpellingError> {
        match self.0 {
            Value::Array(values) => visitor.visit_seq(Elements(values.iter())),
            Value::String(text) => visitor.visit_seq(Bytes(text.as_bytes().to_vec().into_iter())),
            Value::Object(members) => match (members.len(), members.get("hex").and_then(Value::as_str)) {
                (1, Some(hex)) => match unhex(hex) {
                    Some(bytes) => visitor.visit_seq(Bytes(bytes.into_iter())),
                    None => Err(SpellingError(format!("`{hex}` is not hexadecimal"))),
                },
                _ => self.wrong("a list"),
            },
            _ => self.wrong("a list"),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, SpellingError> {
        match self.0 {
            Value::Array(values) if values.len() == len => visitor.visit_seq(Elements(values.iter())),
            _ => self.wrong(&format!("a list of {len}")),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, SpellingError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SpellingError> {
        let Value::Object(members) = self.0 else { return self.wrong("an object") };
        let mut found = Vec::with_capacity(members.len());
        for (name, value) in members {
            match fields.iter().find(|field| spelled(field) == *name) {
                Some(field) => found.push((*field, value)),
                None => return Err(SpellingError(format!("nothing is called `{name}` here"))),
            }
        }
        visitor.visit_map(Members { left: found.into_iter(), value: None })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SpellingError> {
        let (name, payload) = match self.0 {
            Value::String(name) => (name, None),
            Value::Object(members) if members.len() == 1 => match members.iter().next() {
                Some((name, value)) => (name, Some(value)),
                None => return self.wrong("a variant"),
            },
            _ => return self.wrong("a word, or an object of one member,"),
        };
        match variants.iter().find(|variant| spelled(variant) == *name) {
            Some(variant) => visitor.visit_enum(Variant { name: variant, payload }),
            None => Err(SpellingError(format!("`{name}` is none of the words that can stand here"))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct map
        identifier ignored_any
    }
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

struct Elements<'a>(std::slice::Iter<'a, Value>);

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = SpellingError;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, SpellingError> {
        self.0.next().map(|value| seed.deserialize(Reader(value))).transpose()
    }
}

struct Bytes(std::vec::IntoIter<u8>);

impl<'de> SeqAccess<'de> for Bytes {
    type Error = SpellingError;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, SpellingError> {
        self.0.next().map(|byte| seed.deserialize(byte.into_deserializer())).transpose()
    }
}

struct Members<'a> {
    left: std::vec::IntoIter<(&'static str, &'a Value)>,
    value: Option<&'a Value>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = SpellingError;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, SpellingError> {
        let Some((name, value)) = self.left.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, SpellingError> {
        match self.value.take() {
            Some(value) => seed.deserialize(Reader(value)),
            None => Err(SpellingError("a value is asked for before its name".to_owned())),
        }
    }
}

struct Variant<'a> {
    name: &'static str,
    payload: Option<&'a Value>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = SpellingError;
    type Variant = Self;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), SpellingError> {
        Ok((seed.deserialize(StrDeserializer::new(self.name))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = SpellingError;
    fn unit_variant(self) -> Result<(), SpellingError> {
        match self.payload {
            None => Ok(()),
            Some(_) => Err(SpellingError(format!("`{}` holds nothing", spelled(self.name)))),
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, SpellingError> {
        match self.payload {
            Some(value) => seed.deserialize(Reader(value)),
            None => Err(SpellingError(format!("`{}` wants a value", spelled(self.name)))),
        }
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, SpellingError> {
        is_not_in_the_contract("variant of several values").map(|_| unreachable!())
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, SpellingError> {
        is_not_in_the_contract("variant with members").map(|_| unreachable!())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::wit::graph::{FileAction, FileOp, MakeFileAction, Op, OpKind, Output};
    use crate::bindings::wit::types::HostError;
    use serde_json::json;

    fn op(data: &[u8]) -> Op {
        let file = MakeFileAction { path: "/a".into(), data: data.into(), mode: 0o644, owner: None };
        let file =
            FileOp { base: Some(Output { op: 0, slot: 0 }), actions: vec![FileAction::MakeFile(file)] };
        Op {
            kind: OpKind::File(file),
            platform: None,
            name: "a step".into(),
            group: String::new(),
            no_cache: false,
            spans: Vec::new(),
        }
    }

    #[test]
    fn values_are_spelled_as_the_contract_spells_them() {
        let file = json!({"make-file": {"path": "/a", "data": "text", "mode": 420, "owner": null}});
        let wanted = json!({
            "kind": {"file": {"base": {"op": 0, "slot": 0}, "actions": [file]}},
            "platform": null, "name": "a step", "group": "", "no-cache": false, "spans": [],
        });
        assert_eq!(write(&op(b"text")), wanted);
        assert_eq!(write(&OpKind::Scratch), json!("scratch"));
        let refused: Result<u32, _> = Err(HostError { code: "denied".into(), message: "no".into() });
        assert_eq!(write(&refused), json!({"err": {"code": "denied", "message": "no"}}));
        assert_eq!(
            write(&op(&[0xff, 0])).pointer("/kind/file/actions/0/make-file/data"),
            Some(&json!({"hex": "ff00"}))
        );
    }

    #[test]
    fn what_was_written_is_read_again() {
        for data in [&b""[..], b"text", &[0xff, 0]] {
            let written = write(&op(data));
            let again: Op = read(&written).expect("an operation");
            assert_eq!(write(&again), written);
        }
        let pair: (String, Vec<u32>) = read(&json!(["a", [1, 2]])).expect("a pair");
        assert_eq!(pair, ("a".to_owned(), vec![1, 2]));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let wrong = |value: Value| read::<Op>(&value).expect_err("no operation").to_string();
        let mut value = write(&op(b""));
        value["colour"] = json!("red");
        assert_eq!(wrong(value), "nothing is called `colour` here");
        let mut value = write(&op(b""));
        value["kind"] = json!("merged");
        assert_eq!(wrong(value), "`merged` is none of the words that can stand here");
        let mut value = write(&op(b""));
        value["name"] = json!(["a"]);
        assert_eq!(wrong(value), "there is a list where a simple value belongs");
    }
}

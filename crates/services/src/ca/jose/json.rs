//! JSON that every reader understands in the same way.
//!
//! # Promise
//! *One meaning*: no object has two members of one name, at whatever depth. RFC 8259 lets a reader
//! take either; who signs would not know what was read.
//!
//! # Bounds
//! 128 levels of depth, more than which `serde_json` does not read.

use crate::ca::{Problem, ProblemType};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Reads one value that fills `bytes`, except for white space.
pub fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let detail = format!("line {} of the JSON cannot be read", error.line());
        Problem::new(ProblemType::Malformed, detail)
    })
}

/// Builds a value as `serde_json` does, except that it refuses the second member of one name.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("no finite number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(Self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Self)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("two members have one name"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_one_meaning_is_read_as_ever() {
        for text in [
            r#"{"a": [1, -2, 3.5, true, null, "x\n\u00fc\"", {}], "b": {"a": {"a": []}}}"#,
            " [] ",
            "18446744073709551615",
            "\"\"",
        ] {
            let usual: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(parse(text.as_bytes()).expect("strict JSON"), usual);
        }
    }

    #[test]
    fn two_members_of_one_name_are_refused_at_any_depth() {
        for text in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"[{"b": {"a": null, "b": 1, "a": null}}]"#,
        ] {
            assert!(serde_json::from_str::<Value>(text).is_ok(), "usually it is accepted");
            assert_eq!(parse(text.as_bytes()).expect_err(text).kind, ProblemType::Malformed);
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in
            ["", "{}{}", "[] x", "{\"a\":1,}", "{'a':1}", "nul", "1e999", "\"\\ud800\"", &deep]
        {
            assert_eq!(parse(text.as_bytes()).expect_err(text).kind, ProblemType::Malformed);
        }
        assert!(parse(b"\"\xff\"").is_err(), "no text");
        assert!(parse(b"\xef\xbb\xbf{}").is_err(), "a mark of the byte order");
    }
}

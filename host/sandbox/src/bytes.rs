//! Bytes as JSON: a text where they are one, `{"base64": …}` where they are not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form<T> {
    Text(T),
    Other { base64: String },
}

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Form::Text(text),
        Err(_) => Form::Other { base64: STANDARD.encode(bytes) },
    }
    .serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    match Form::<String>::deserialize(deserializer)? {
        Form::Text(text) => Ok(text.into_bytes()),
        Form::Other { base64 } => STANDARD.decode(base64).map_err(D::Error::custom),
    }
}

/// The same for header fields.
pub(crate) mod fields {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize)]
    struct Written<'a>(#[serde(with = "super")] &'a [u8]);

    #[derive(Deserialize)]
    struct Read(#[serde(with = "super")] Vec<u8>);

    pub(crate) fn serialize<S: Serializer>(
        fields: &[(String, Vec<u8>)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(fields.iter().map(|(name, value)| (name, Written(value))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, Vec<u8>)>, D::Error> {
        let fields = Vec::<(String, Read)>::deserialize(deserializer)?;
        Ok(fields.into_iter().map(|(name, Read(value))| (name, value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::{from_value, json, to_value};

    #[derive(Serialize, Deserialize)]
    struct Held(#[serde(with = "super")] Vec<u8>);

    #[test]
    fn bytes_come_back_as_they_went() {
        let check = |bytes: &[u8], expected| {
            let json = to_value(Held(bytes.to_vec())).unwrap();
            assert_eq!(json, expected);
            assert_eq!(from_value::<Held>(json).unwrap().0, bytes);
        };
        check(b"", json!(""));
        check("classes: [é]\n".as_bytes(), json!("classes: [é]\n"));
        check(b"\x30\x82\xff\x00", json!({"base64": "MIL/AA=="}));
        assert!(from_value::<Held>(json!({"base64": "?"})).is_err());
    }

    #[derive(Serialize, Deserialize)]
    struct Fields(#[serde(with = "super::fields")] Vec<(String, Vec<u8>)>);

    #[test]
    fn header_fields_come_back_as_they_went() {
        let fields = vec![("accept".to_owned(), b"*/*".to_vec()), ("x".to_owned(), vec![0xff])];
        let json = to_value(Fields(fields.clone())).unwrap();
        assert_eq!(json, json!([["accept", "*/*"], ["x", {"base64": "/w=="}]]));
        assert_eq!(from_value::<Fields>(json).unwrap().0, fields);
    }
}

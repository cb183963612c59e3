//! Recognises the text that Debezium writes for an unchanged value that is stored out of line. The text has many forms,
//! because Debezium's PostgreSQL connector and the converters transform the text of the setting
//! `unavailable.value.placeholder` (`UnchangedToastedPlaceholder` and `PostgresValueConverter` of Debezium 3.6;
//! debezium/debezium#7815 for arrays of numbers).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use md5::{Digest, Md5};
use serde_json::Value;

/// Debezium's default value of the setting `unavailable.value.placeholder`.
pub const DEFAULT_PLACEHOLDER: &str = "__debezium_unavailable_value";

/// The maximum number of bytes of JSON that one byte of the placeholder needs: in a list of numerics without a scale,
/// each byte is an object with two members.
const JSON_MAX_BYTES_A_BYTE: usize = 40;
/// The maximum number of bytes of JSON that surround the placeholder, or that a UUID needs in place of the placeholder.
const JSON_MAX_BYTES_AROUND: usize = 128;
/// The number of bytes of a UUID. In an array of UUIDs, one UUID stands for the placeholder, however long the
/// placeholder is.
const UUID_BYTES: usize = 36;

/// The placeholder that the connectors in `deploy/debezium` set. nova knows the placeholder of `deploy/debezium`
/// without a setting.
pub const SHIPPED_PLACEHOLDER: &str = "nova-unavailable-6850090be5b7f03428b38213ee145bae";

/// The texts that stand for values which a record does not repeat.
#[derive(Clone, Debug)]
pub(super) struct Placeholders(Box<[Placeholder]>);

impl Placeholders {
    /// The placeholders that nova knows if no placeholder is set: Debezium's default, and the text in
    /// `deploy/debezium`.
    pub fn unset() -> Placeholders {
        Placeholders([DEFAULT_PLACEHOLDER, SHIPPED_PLACEHOLDER].map(Placeholder::new).into())
    }

    /// The placeholder of a connector whose setting `unavailable.value.placeholder` is `setting`. If the placeholder is
    /// set, no other text counts as a placeholder.
    pub fn of(setting: &str) -> Placeholders {
        Placeholders([Placeholder::new(setting)].into())
    }

    pub fn is_text(&self, value: &str) -> bool {
        self.0.iter().any(|one| one.is_text(value))
    }

    /// Whether the text is the placeholder of a column of type `bytea`.
    pub fn is_bytes(&self, value: &str) -> bool {
        self.0.iter().any(|one| one.is_bytes(value))
    }

    /// Whether the text of one JSON value is the placeholder of a column of any type.
    pub fn is_json(&self, json: &str) -> bool {
        self.0.iter().any(|one| one.is_json(json))
    }
}

/// One placeholder in all forms that a record may have.
#[derive(Clone, Debug)]
struct Placeholder {
    bytes: Box<[u8]>,
    text: Box<str>,
    /// The texts that a converter or the setting `binary.handling.mode` makes from the placeholder's bytes.
    encoded: [Box<str>; 4],
    uuid: Box<str>,
}

impl Placeholder {
    /// Makes all forms of the text `setting`, which is the connector's `unavailable.value.placeholder` and may have the
    /// form `hex:`.
    fn new(setting: &str) -> Placeholder {
        let bytes = setting.strip_prefix("hex:").and_then(from_hex).unwrap_or_else(|| setting.as_bytes().to_vec());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let encoded = [STANDARD.encode(&bytes), URL_SAFE.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes), hex];
        Placeholder {
            text: String::from_utf8_lossy(&bytes).into(),
            encoded: encoded.map(String::into_boxed_str),
            uuid: name_uuid(&bytes).into(),
            bytes: bytes.into(),
        }
    }

    fn is_text(&self, value: &str) -> bool {
        *value == *self.text
    }

    fn is_bytes(&self, value: &str) -> bool {
        self.encoded.iter().any(|encoded| **encoded == *value)
    }

    fn is_json(&self, json: &str) -> bool {
        let longest = JSON_MAX_BYTES_A_BYTE * self.bytes.len() + JSON_MAX_BYTES_AROUND;
        if json.len() < self.bytes.len().min(UUID_BYTES) || json.len() > longest {
            return false;
        }
        let first = json.as_bytes().first();
        let text = json.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        if let (Some(text), false) = (text, json.contains('\\')) {
            return self.is_text(text) || self.is_bytes(text);
        }
        matches!(first, Some(b'"' | b'[' | b'{')) && serde_json::from_str(json).is_ok_and(|value| self.is_value(&value))
    }

    fn is_value(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => {
                self.is_text(text)
                    || self.is_bytes(text)
                    || text.starts_with('{') && serde_json::from_str(text).is_ok_and(|map| self.is_map(&map))
            }
            Value::Array(items) => match items.as_slice() {
                [Value::String(text)] => self.is_text(text) || self.is_bytes(text) || **text == *self.uuid,
                // A record has a map as a list of pairs, or as a list of records with `key` and `value`.
                [Value::Array(pair)] => pair.len() == 2 && pair.iter().all(|part| self.is_string(part)),
                [map @ Value::Object(_)] => self.is_map(map),
                items => self.is_numbers(items),
            },
            map => self.is_map(map),
        }
    }

    fn is_string(&self, value: &Value) -> bool {
        value.as_str().is_some_and(|text| self.is_text(text))
    }

    fn is_map(&self, value: &Value) -> bool {
        let Value::Object(members) = value else { return false };
        match members.len() {
            1 => members.iter().all(|(name, value)| self.is_text(name) && self.is_string(value)),
            2 => ["key", "value"].iter().all(|name| members.get(*name).is_some_and(|value| self.is_string(value))),
            _ => false,
        }
    }

    /// Whether the items are numbers, one for each byte of the placeholder. The numbers of the placeholder's bytes may
    /// be negative, because bytes in Java are signed. Decimals are written as text, or as their bytes in base64.
    fn is_numbers(&self, items: &[Value]) -> bool {
        let is_byte = |(item, byte): (&Value, &u8)| match item {
            Value::Number(number) => number.as_f64().is_some_and(|number| is_number(number, *byte)),
            Value::String(text) => {
                text.parse().is_ok_and(|number| is_number(number, *byte)) || *text == STANDARD.encode([*byte])
            }
            // A numeric without a declared scale is written as `VariableScaleDecimal`.
            Value::Object(members) => {
                let bytes = members.get("value").and_then(Value::as_str);
                members.len() == 2
                    && members.get("scale").is_some_and(|scale| *scale == 0)
                    && bytes.is_some_and(|text| {
                        [STANDARD.encode([*byte]), STANDARD.encode([0, *byte])].contains(&text.to_owned())
                    })
            }
            _ => false,
        };
        !items.is_empty() && items.len() == self.bytes.len() && items.iter().zip(&*self.bytes).all(is_byte)
    }
}

fn is_number(number: f64, byte: u8) -> bool {
    number == f64::from(byte) || number == f64::from(byte.cast_signed())
}

/// Returns the UUID that Java's `UUID.nameUUIDFromBytes` makes: version 3 without a namespace.
fn name_uuid(bytes: &[u8]) -> String {
    uuid::Builder::from_md5_bytes(Md5::digest(bytes).into()).into_uuid().to_string()
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

//! Several texts read as one recipe: tables merge, whatever else is written later replaces what was before.
//!
//! What merges is decided by what is read. The types of a recipe say which of its tables are choices (`{ cosine = { .. } }`);
//! of a choice, only the entries of the variant that was chosen last count, so that choosing another one does not leave
//! the old one's entries behind.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::fault::Fault;
use super::source::{Content, Entry, Node, Place};

/// Where each entry that was read stands, by its path (`train.transforms.0`).
pub(super) type Places = BTreeMap<String, Place>;

/// What several texts say of one entry, the last that was written first.
pub(super) struct Stack<'a> {
    layers: Vec<&'a Node>,
    path: String,
    places: &'a RefCell<Places>,
}

impl<'a> Stack<'a> {
    /// Of whole texts, the last first; notes in `places` where what is read stands.
    pub(super) fn new(layers: Vec<&'a Node>, places: &'a RefCell<Places>) -> Self {
        Self { layers, path: String::new(), places }
    }

    /// The layer that decides.
    fn top(&self) -> &'a Node {
        self.layers[0]
    }

    /// The tables that merge: those above the first that is none.
    fn tables(&self) -> Vec<&'a BTreeMap<String, Entry>> {
        tables(&self.layers)
    }

    /// Of a list.
    fn length(&self) -> usize {
        if let Content::List(items) = &self.top().content { items.len() } else { 0 }
    }

    fn inner(&self, key: &str, layers: Vec<&'a Node>) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { layers, path, places: self.places }
    }

    fn note(&self) {
        self.places.borrow_mut().insert(self.path.clone(), self.top().place);
    }

    fn fault(&self, message: String) -> Fault {
        Fault::new(message).at(self.top().place, &self.path)
    }
}

/// The tables that merge: those above the first that is none, or up to one that hides the rest.
fn tables<'a>(layers: &[&'a Node]) -> Vec<&'a BTreeMap<String, Entry>> {
    let mut tables = Vec::new();
    for node in layers {
        let Content::Table(entries) = &node.content else { break };
        tables.push(entries);
        if node.hides {
            break;
        }
    }
    tables
}

/// What the layers say of `key`, the last first.
pub(super) fn below<'a>(layers: &[&'a Node], key: &str) -> Vec<&'a Node> {
    tables(layers).iter().filter_map(|table| table.get(key)).map(|entry| &entry.node).collect()
}

impl<'de, 'a> Deserializer<'de> for Stack<'a> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.note();
        let (place, path) = (self.top().place, self.path.clone());
        let read = match &self.top().content {
            Content::Text(text) => visitor.visit_str(text),
            Content::Integer(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_i64(number),
                (_, Ok(number)) => visitor.visit_u64(number),
                _ => visitor.visit_i128(*number),
            },
            Content::Number(number) => visitor.visit_f64(*number),
            Content::Truth(truth) => visitor.visit_bool(*truth),
            Content::List(items) => {
                let left = items.iter().enumerate();
                let mut items = Items { stack: &self, left };
                visitor.visit_seq(&mut items).and_then(|list| match items.left.len() {
                    0 => Ok(list),
                    more => {
                        let length = self.length();
                        Err(Fault::new(format!(
                            "a list of length {length} where {} are expected",
                            length - more
                        )))
                    }
                })
            }
            Content::Table(_) => {
                let keys: BTreeSet<&str> =
                    self.tables().iter().flat_map(|table| table.keys().map(String::as_str)).collect();
                visitor.visit_map(Entries { left: keys.into_iter(), key: "", stack: &self })
            }
        };
        read.map_err(|fault| fault.at(place, &path))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let top = self.top();
        if !matches!(top.content, Content::Table(_)) {
            let expected = format!("a table of `{}`", fields.join("`, `"));
            let fault: Fault = de::Error::invalid_type(top.unexpected(), &expected.as_str());
            return Err(fault.at(top.place, &self.path));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.note();
        let top = self.top();
        let (name, key_place) = match &top.content {
            Content::Text(name) => (name.as_str(), top.place),
            Content::Table(entries) => match entries.iter().collect::<Vec<_>>().as_slice() {
                [(name, entry)] => (name.as_str(), entry.key),
                several => {
                    let found: Vec<String> = several.iter().map(|(name, _)| format!("`{name}`")).collect();
                    let found = if found.is_empty() { "nothing".to_owned() } else { found.join(" and ") };
                    let possible = variants.join("`, `");
                    return Err(self.fault(format!("{found} where one of `{possible}` is expected")));
                }
            },
            _ => {
                let possible = format!("one of `{}`", variants.join("`, `"));
                let fault: Fault = de::Error::invalid_type(top.unexpected(), &possible.as_str());
                return Err(fault.at(top.place, &self.path));
            }
        };
        // Of the layers below, those that chose otherwise count no longer, nor what they hide.
        let same = |table: &&BTreeMap<String, Entry>| table.len() == 1 && table.contains_key(name);
        let chosen = self.tables().into_iter().take_while(same).map(|table| &table[name].node).collect();
        let (path, place) = (self.path.clone(), top.place);
        let choice = Choice { name, key_place, inner: self.inner(name, chosen), outer: path.clone() };
        visitor.visit_enum(choice).map_err(|fault| fault.at(place, &path))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl Node {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.content {
            Content::Table(_) => Unexpected::Map,
            Content::List(_) => Unexpected::Seq,
            Content::Text(text) => Unexpected::Str(text),
            Content::Integer(number) => {
                i64::try_from(*number).map_or(Unexpected::Other("a large number"), Unexpected::Signed)
            }
            Content::Number(number) => Unexpected::Float(*number),
            Content::Truth(truth) => Unexpected::Bool(*truth),
        }
    }
}

/// The entries of merged tables.
struct Entries<'s, 'a, I> {
    left: I,
    key: &'a str,
    stack: &'s Stack<'a>,
}

impl<'de, 'a, I: Iterator<Item = &'a str>> de::MapAccess<'de> for Entries<'_, 'a, I> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(key) = self.left.next() else { return Ok(None) };
        self.key = key;
        let deserializer: StrDeserializer<'_, Fault> = key.into_deserializer();
        seed.deserialize(deserializer).map(Some).map_err(|fault| {
            let entry = self.stack.tables().into_iter().find_map(|table| table.get(key));
            match entry {
                Some(entry) => fault.at(entry.key, &self.stack.path),
                None => fault,
            }
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let layers = below(&self.stack.layers, self.key);
        seed.deserialize(self.stack.inner(self.key, layers))
    }
}

/// The entries of a list.
struct Items<'s, 'a, I> {
    stack: &'s Stack<'a>,
    left: I,
}

impl<'de, 'a, I: Iterator<Item = (usize, &'a Node)>> de::SeqAccess<'de> for Items<'_, 'a, I> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.left.next() else { return Ok(None) };
        seed.deserialize(self.stack.inner(&index.to_string(), vec![node])).map(Some)
    }
}

/// A variant of an enum.
struct Choice<'a> {
    name: &'a str,
    key_place: Place,
    /// The variant's own entries; without layers where the name stands alone.
    inner: Stack<'a>,
    outer: String,
}

impl<'de, 'a> de::EnumAccess<'de> for Choice<'a> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let deserializer: StrDeserializer<'_, Fault> = self.name.into_deserializer();
        match seed.deserialize(deserializer) {
            Ok(variant) => Ok((variant, self)),
            Err(fault) => Err(fault.at(self.key_place, &self.outer)),
        }
    }
}

impl Choice<'_> {
    /// The name stands where a table should.
    fn alone(&self, fields: &[&str]) -> Fault {
        let entries: Vec<String> = fields.iter().map(|field| format!("{field} = ..")).collect();
        let entries = if entries.is_empty() { "..".to_owned() } else { entries.join(", ") };
        Fault::new(format!("`{0}` needs entries of its own: {{ {0} = {{ {entries} }} }}", self.name))
            .at(self.key_place, &self.outer)
    }
}

impl<'de> de::VariantAccess<'de> for Choice<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.inner.layers.first().map(|node| &node.content) {
            None => Ok(()),
            Some(Content::Table(entries)) if entries.is_empty() => Ok(()),
            Some(_) => {
                let message = format!("`{0}` has no entries; write \"{0}\" alone", self.name);
                Err(Fault::new(message).at(self.key_place, &self.outer))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        if self.inner.layers.is_empty() {
            return Err(self.alone(&[]));
        }
        seed.deserialize(self.inner)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        if self.inner.layers.is_empty() {
            return Err(self.alone(&[]));
        }
        self.inner.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if self.inner.layers.is_empty() {
            return Err(self.alone(fields));
        }
        self.inner.deserialize_any(visitor)
    }
}

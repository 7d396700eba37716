//! The text of the Rust file: for each entity type a struct with `at`, and on that one method a command.
//! Queries have no messages and internal handlers are their crate's own. Invariant: no text of the document
//! becomes code other than as an identifier, a literal or a comment.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, ensure};
use serde_json::{Map, Value};

use super::names::{pascal, snake, unique};
use super::types::{ANY, Types, about, optional, requires};

/// What tells such a file from an author's.
pub(super) const MARK: &str = "made by `keystead client`";

/// A file, not formatted yet, and the types it has clients of.
pub(super) struct Made {
    pub(super) text: String,
    pub(super) types: Vec<String>,
}

/// The file for what `document`, of the app or file `name`, describes.
pub(super) fn file(name: &str, document: &Value) -> anyhow::Result<Made> {
    let entities = document["entities"].as_array().context("it has no list of entities")?;
    let mut taken: BTreeSet<String> = IMPORTED.iter().map(|name| (*name).to_owned()).collect();
    let mut clients = Vec::new();
    for entity in entities {
        let kind = entity["type"].as_str().context("an entity type has no name")?;
        let client = unique(&pascal(kind), &mut taken);
        let messages = unique(&format!("{client}At"), &mut taken);
        clients.push(Client { kind, client, messages, entity });
    }
    let mut types = Types::new(taken);
    let mut body = String::new();
    for client in &clients {
        client.write(&mut types, &mut body)?;
    }
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let mut text = format!(
        "//! Typed clients of the entities of `{name}`, {MARK}: make it again rather than change it.\n\
         //! A message goes to an entity of the app that sends it, so that app has these types, too.\n\n\
         #![allow(clippy::all, clippy::pedantic, dead_code, missing_docs, unreachable_pub, unused_imports)]\n\n\
         use std::collections::BTreeMap;\n\n\
         use keystead_sdk::__private::serde::{{Deserialize, Serialize}};\n\
         use keystead_sdk::__private::serde_json;\n\
         use keystead_sdk::input::{{self, Json}};\n\
         use keystead_sdk::{{AtKey, Bytes, Message, Target}};\n"
    );
    text.push_str(&body);
    for definition in types.definitions() {
        let _ = write!(text, "\n{definition}");
    }
    Ok(Made { text, types: clients.iter().map(|client| client.kind.to_owned()).collect() })
}

/// Names that the file uses already.
const IMPORTED: [&str; 17] = [
    "AtKey",
    "BTreeMap",
    "Box",
    "Bytes",
    "Clone",
    "Debug",
    "Deserialize",
    "Into",
    "Json",
    "Message",
    "Option",
    "PartialEq",
    "Self",
    "Serialize",
    "String",
    "Target",
    "Vec",
];

struct Client<'a> {
    kind: &'a str,
    /// The name of the struct with `at`.
    client: String,
    /// The name of the one with the commands.
    messages: String,
    entity: &'a Value,
}

impl Client<'_> {
    fn write(&self, types: &mut Types, out: &mut String) -> anyhow::Result<()> {
        let Self { kind, client, messages, entity } = self;
        let own = about(entity.get("about"), "");
        let own =
            if own.is_empty() { format!("/// Entities of the type `{kind}`.\n") } else { own };
        let _ = write!(
            out,
            "\n{own}#[derive(Debug, Clone, Copy)]\npub struct {client};\n\n\
             impl {client} {{\n    \
             /// Messages to the entity with this key: `.command(arguments).send(ctx)`.\n    \
             pub fn at(key: impl Into<String>) -> {messages} {{\n        \
             {messages}(AtKey::new(key))\n    }}\n}}\n\n\
             /// Messages to the commands of [`{client}`].\n\
             #[derive(Debug, Clone)]\n\
             #[must_use = \"name the command: .command(arguments).send(ctx)\"]\n\
             pub struct {messages}(AtKey);\n\n\
             impl {messages} {{\n"
        );
        let handlers = entity["handlers"].as_array();
        let handlers = handlers.with_context(|| format!("{kind} has no list of handlers"))?;
        let mut methods = BTreeSet::new();
        for handler in handlers.iter().filter(|handler| handler["kind"] == "command") {
            let name = handler["name"].as_str();
            let name = name.with_context(|| format!("a handler of {kind} has no name"))?;
            ensure!(!name.is_empty(), "a handler of {kind} has no name");
            let method = unique(&snake(name), &mut methods);
            let _ = write!(out, "{}", self.method(types, name, &method, handler));
        }
        out.push_str("}\n");
        Ok(())
    }

    /// One command, as a method that makes a message.
    fn method(&self, types: &mut Types, name: &str, method: &str, handler: &Value) -> String {
        let wanted = format!("{}{}", pascal(self.kind), pascal(name));
        let output = match handler["output"].get("json") {
            Some(schema) => types.of(schema, schema, &format!("{wanted}Output")),
            None => "Bytes".to_owned(),
        };
        let input = match handler["input"].get("json") {
            Some(schema) => Input::read(types, schema, &wanted),
            None => Input::bytes(),
        };
        let own = about(handler.get("about"), "    ");
        let own = if own.is_empty() { format!("    /// Calls `{name}`.\n") } else { own };
        let Input { parameters, before, value } = input;
        format!(
            "{own}    pub fn {method}(&self, {parameters}) -> Message<{output}> {{\n\
             {before}        self.0.call({:?}, {name:?}, {value})\n    }}\n\n",
            self.kind
        )
    }
}

/// What a method takes and how that becomes the message's input.
struct Input {
    parameters: String,
    /// Statements before the message is made.
    before: String,
    /// The input's bytes.
    value: String,
}

impl Input {
    fn bytes() -> Self {
        let parameters = "body: impl Into<Bytes>".to_owned();
        Self { parameters, before: String::new(), value: "input::bytes(body)".to_owned() }
    }

    fn read(types: &mut Types, schema: &Value, wanted: &str) -> Self {
        let target = schema.get("$ref").and_then(Value::as_str);
        let target = target.and_then(|target| target.strip_prefix('#'));
        let object = target.and_then(|pointer| schema.pointer(pointer)).unwrap_or(schema);
        let empty = Map::new();
        let members = object.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let is_closed = object.get("additionalProperties") == Some(&Value::Bool(false));
        match object.as_object() {
            Some(object) if is_closed || !members.is_empty() => {
                Self::members(types, schema, object, members, wanted)
            }
            _ => Self {
                parameters: format!("arguments: serde_json::Map<String, {ANY}>"),
                before: String::new(),
                value: format!("{ANY}::from(arguments).to_string().into_bytes()"),
            },
        }
    }

    /// An argument for each member: the required ones in the order that `required` has, then the others.
    fn members(
        types: &mut Types,
        root: &Value,
        object: &Map<String, Value>,
        members: &Map<String, Value>,
        wanted: &str,
    ) -> Self {
        let required = object.get("required").and_then(Value::as_array);
        let place = |name: &str| {
            required.and_then(|all| all.iter().position(|one| one == name)).unwrap_or(usize::MAX)
        };
        let mut ordered: Vec<_> = members.iter().collect();
        ordered.sort_by_key(|(name, _)| place(name));
        // `given` and `value` are the method's own.
        let mut taken = BTreeSet::from(["given".to_owned(), "value".to_owned()]);
        let (mut parameters, mut always, mut maybe) = (Vec::new(), Vec::new(), String::new());
        let mut before = String::new();
        for (name, property) in ordered {
            let argument = unique(&snake(name), &mut taken);
            let ty = types.of(root, property, &format!("{wanted}{}", pascal(name)));
            if !requires(object, name) {
                parameters.push(format!("{argument}: {}", optional(&ty)));
                let _ = write!(
                    maybe,
                    "        if let Some(value) = &{argument} {{\n            \
                     given.push(({name:?}, value));\n        }}\n"
                );
                continue;
            }
            if ty == "String" {
                parameters.push(format!("{argument}: impl Into<String>"));
                let _ = writeln!(before, "        let {argument}: String = {argument}.into();");
            } else {
                parameters.push(format!("{argument}: {ty}"));
            }
            always.push(format!("({name:?}, &{argument})"));
        }
        let always = always.join(", ");
        let value = if maybe.is_empty() {
            format!("input::object(&[{always}])")
        } else {
            let _ = write!(
                before,
                "        let mut given: Vec<(&str, &dyn Json)> = vec![{always}];\n{maybe}"
            );
            "input::object(&given)".to_owned()
        };
        Self { parameters: parameters.join(", "), before, value }
    }
}

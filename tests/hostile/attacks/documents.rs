//! Describe documents that lie: no JSON, too much of it, and schemas that cost more than they weigh.

use super::super::wat::{Wat, document};
use super::{Attack, Ends, bad, called, row};

fn says(document: impl Into<Vec<u8>>) -> Vec<u8> {
    Wat::right().document(document).memory("(memory (export \"memory\") 64)").build()
}

/// So many queries, and the handlers of every guest.
fn handlers(count: usize) -> Vec<u8> {
    let one = |n: usize| {
        format!(
            r#"{{"name":"h{n}","kind":"query","input":{{"json":{{}}}},"output":{{"json":{{}}}}}},"#
        )
    };
    let many: String = (0..count).map(one).collect();
    let first = r#""handlers":["#;
    says(document("{}", "{}").replace(first, &format!("{first}{many}")))
}

fn takes(schema: &str) -> Vec<u8> {
    says(document(schema, "{}"))
}

/// One command alone.
fn takes_once(schema: &str) -> Vec<u8> {
    let handler = format!(
        r#"{{"name":"go","kind":"command","input":{{"json":{schema}}},"output":{{"json":{{}}}}}}"#
    );
    says(format!(r#"{{"entities":[{{"type":"probe","handlers":[{handler}]}}]}}"#))
}

fn nested(times: usize, open: &str, inner: &str, close: &str) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

/// A hundred definitions, each of which is twice the next.
fn doubling(keyword: &str) -> String {
    let twice = |n: usize| {
        let next = format!(r##"{{"$ref":"#/$defs/d{}"}}"##, n + 1);
        format!(r#""d{n}":{{"{keyword}":[{next},{next}]}}"#)
    };
    let defs: Vec<String> = (0..100).map(twice).collect();
    format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d100":{{}}}}}}"##, defs.join(","))
}

fn patterns(count: usize, pattern: &str) -> String {
    // Each one is another: what is compiled once is not compiled again.
    let one = |n: usize| format!(r#""p{n}":{{"type":"string","pattern":"{n}{pattern}"}}"#);
    let all: Vec<String> = (0..count).map(one).collect();
    format!(r#"{{"properties":{{{}}}}}"#, all.join(","))
}

pub(super) fn rows() -> Vec<Attack> {
    let mut rows = texts();
    rows.extend(schemas());
    rows.extend(schemas_with_inputs());
    rows.extend(inputs());
    rows.extend(patterns_and_more());
    rows
}

fn texts() -> Vec<Attack> {
    vec![
        row("a document that is no JSON", bad("describe document"), || says("entities: none")),
        row("a document that is no UTF-8", bad("describe document"), || says(*b"\"\xff\xfe\"")),
        row("an empty document", bad("describe document"), || says("")),
        row("a document of another shape", bad("describe document"), || says("[1,2,3]")),
        row("a document over its limit", bad("1048576"), || says(" ".repeat(1_048_577))),
        row("a document of brackets", bad("recursion limit"), || says("[".repeat(100_000))),
        row("a document with two probes", bad("two entity types"), || {
            let probe = r#"{"type":"probe","handlers":[]}"#;
            says(format!(r#"{{"entities":[{probe},{probe}]}}"#))
        }),
        row("a handler called nothing", bad("handler"), || {
            says(document("{}", "{}").replace("\"go\"", "\"\""))
        }),
        row("a handler called a path", bad("handler"), || {
            says(document("{}", "{}").replace("\"go\"", "\"../../etc\""))
        }),
        row("as many handlers as there may be", Ends::Answers(200), || handlers(997)),
        row("ten thousand handlers", bad("at most 1000"), || handlers(10_000)),
        row("a handler that breaks its own schema", Ends::Answers(200), || {
            says(document("{}", r#"{"type":"integer","minimum":7}"#))
        }),
    ]
}

fn schemas() -> Vec<Attack> {
    vec![
        row("a schema that is none", bad("not one"), || takes(r#"{"type":"banana"}"#)),
        row("a schema of another host", bad("not one"), || {
            takes(r#"{"$ref":"http://127.0.0.1:9/schema.json"}"#)
        }),
        row("a schema of a file", bad("not one"), || takes(r#"{"$ref":"file:///etc/passwd"}"#)),
        row("a schema that is itself", Ends::Answers(200), || takes(r##"{"$ref":"#"}"##)),
        row("a schema that is all of itself", Ends::Answers(200), || {
            takes(r##"{"allOf":[{"$ref":"#"}]}"##)
        }),
        row("two schemas that are each other", Ends::Answers(200), || {
            takes(
                r##"{"$ref":"#/$defs/a","$defs":{"a":{"not":{"$ref":"#/$defs/b"}},
                    "b":{"anyOf":[false,{"$ref":"#/$defs/a"}]}}}"##,
            )
        }),
        row("a schema twice as large at each step", bad("stands for"), || {
            takes(&doubling("allOf"))
        }),
        row("a schema with twice as many choices at each step", bad("stands for"), || {
            takes(&doubling("oneOf"))
        }),
    ]
}

fn schemas_with_inputs() -> Vec<Attack> {
    vec![
        called(
            "a schema that is twice itself in each member",
            Ends::Answers(400),
            || {
                let twice = r##"{"allOf":[{"$ref":"#"},{"$ref":"#"}]}"##;
                takes(&format!(r#"{{"properties":{{"a":{twice},"b":false}}}}"#))
            },
            || nested(100, r#"{"a":"#, r#"{"b":1}"#, "}"),
        ),
        called(
            "a schema that is any of itself in each member",
            Ends::Answers(400),
            || {
                let twice = r##"{"anyOf":[{"$ref":"#"},{"$ref":"#"},{"$ref":"#"}]}"##;
                takes(&format!(r#"{{"properties":{{"a":{twice},"b":false}}}}"#))
            },
            || nested(100, r#"{"a":"#, r#"{"b":1}"#, "}"),
        ),
        called(
            "a schema that forbids itself in what is left of each member",
            Ends::Answers(400),
            || {
                let once = r##"{"oneOf":[{"$ref":"#"},{"$ref":"#"}],"unevaluatedProperties":{"$ref":"#"}}"##;
                takes(&format!(r#"{{"properties":{{"a":{once},"b":false}}}}"#))
            },
            || nested(100, r#"{"a":"#, r#"{"b":1}"#, "}"),
        ),
        row("a chain of ten thousand references", bad("stands for"), || {
            let one = |n: usize| format!(r##""d{n}":{{"$ref":"#/$defs/d{}"}}"##, n + 1);
            let defs: Vec<String> = (0..10_000).map(one).collect();
            takes(&format!(
                r##"{{"$ref":"#/$defs/d0","$defs":{{{},"d10000":{{}}}}}}"##,
                defs.join(",")
            ))
        }),
    ]
}

fn inputs() -> Vec<Attack> {
    vec![
        called(
            "an input of a hundred thousand unique items",
            Ends::Answers(200),
            || takes(r#"{"properties":{"a":{"type":"array","uniqueItems":true}}}"#),
            || {
                let items: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
                format!(r#"{{"a":[{}]}}"#, items.join(","))
            },
        ),
        called(
            "many items that are each many schemas",
            Ends::Answers(400),
            || {
                let twice = |n: usize| {
                    let next = format!(r##"{{"$ref":"#/$defs/d{}"}}"##, n + 1);
                    format!(r#""d{n}":{{"allOf":[{next},{next}]}}"#)
                };
                let defs: Vec<String> = (0..13).map(twice).collect();
                let items = r##""properties":{"a":{"items":{"$ref":"#/$defs/d0"}}}"##;
                takes(&format!(r##"{{{items},"$defs":{{{},"d13":{{}}}}}}"##, defs.join(",")))
            },
            || format!(r#"{{"a":[{}1]}}"#, "1,".repeat(400_000)),
        ),
        called(
            "an input of brackets",
            Ends::Answers(400),
            || takes("{}"),
            || nested(100_000, r#"{"a":["#, "1", "]}"),
        ),
        called(
            "a pattern that backtracks",
            Ends::Answers(400),
            || takes(r#"{"properties":{"a":{"type":"string","pattern":"^(a+)+$"}}}"#),
            || format!(r#"{{"a":"{}b"}}"#, "a".repeat(900_000)),
        ),
    ]
}

fn patterns_and_more() -> Vec<Attack> {
    vec![
        row("a schema nested deeply", bad("recursion limit"), || {
            takes(&format!("{}true{}", r#"{"not":"#.repeat(10_000), "}".repeat(10_000)))
        }),
        row("a pattern that needs to look back", bad("not one"), || takes(&patterns(1, r"(a)\\1"))),
        row("a pattern that is larger than it looks", bad("not one"), || {
            takes(&patterns(1, "((a{100}){100}){100}"))
        }),
        row("patterns that are each just small enough", bad("patterns"), || {
            takes_once(&patterns(5_000, "(\\\\w{50}){5}"))
        }),
        row("fifteen thousand patterns", bad("patterns"), || {
            takes_once(&patterns(15_000, "(a{9}){9}"))
        }),
        row("ten thousand properties", Ends::Answers(200), || {
            let one = |n: usize| format!(r#""p{n}":{{"type":"string"}}"#);
            let all: Vec<String> = (0..10_000).map(one).collect();
            takes(&format!(r#"{{"properties":{{{}}}}}"#, all.join(",")))
        }),
    ]
}

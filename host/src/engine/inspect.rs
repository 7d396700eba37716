//! A cheap look at a component before it is compiled: is it one, and is every part of it within its cap?
//! Compile time is not linear in size, so that a small component could otherwise cost a minute. What this
//! lets pass is still compiled in a child under limits of time and memory.

use wasmparser::{FunctionBody, Operator, Parser, Payload};

use super::PrepareError;
use crate::limits;

/// Checks `bytes` against the caps of `limits`.
pub(super) fn inspect(bytes: &[u8]) -> Result<(), PrepareError> {
    if bytes.len() > limits::COMPONENT_BYTES_MAX {
        return Err(too_large("bytes", bytes.len(), limits::COMPONENT_BYTES_MAX));
    }
    if Parser::is_core_wasm(bytes) {
        return Err(PrepareError::NotAComponent(
            "this is a core module; `keystead build` wraps it".into(),
        ));
    }
    if !Parser::is_component(bytes) {
        let what = if bytes.is_empty() { "the file is empty" } else { "it does not start as one" };
        return Err(PrepareError::NotAComponent(format!(
            "{what}; a component is what `keystead build` makes"
        )));
    }
    let mut count = Count::default();
    for payload in Parser::new(0).parse_all(bytes) {
        payload.map_err(PrepareError::from).and_then(|payload| count.payload(&payload))?;
    }
    Ok(())
}

impl From<wasmparser::BinaryReaderError> for PrepareError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::NotAComponent(format!(
            "it is damaged or cut short at byte {}: {}",
            error.offset(),
            error.message()
        ))
    }
}

/// What has been seen of a component so far, over all its modules.
#[derive(Default)]
struct Count {
    functions: usize,
    segments: usize,
    parts: usize,
    depth: usize,
}

impl Count {
    fn payload(&mut self, payload: &Payload<'_>) -> Result<(), PrepareError> {
        match payload {
            Payload::ModuleSection { .. } => self.part(),
            Payload::ComponentSection { .. } => self.part(),
            Payload::Version { encoding: wasmparser::Encoding::Component, .. } => {
                self.depth += 1;
                within("components within components", self.depth, limits::COMPONENT_NESTING_MAX)
            }
            Payload::Version { encoding: wasmparser::Encoding::Module, .. } => {
                self.depth += 1;
                Ok(())
            }
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(())
            }
            Payload::FunctionSection(section) => {
                self.functions += section.count() as usize;
                within("functions", self.functions, limits::COMPONENT_FUNCTIONS_MAX)
            }
            Payload::DataSection(section) => self.segments(section.count()),
            Payload::ElementSection(section) => self.segments(section.count()),
            Payload::CodeSectionEntry(body) => function(body),
            _ => Ok(()),
        }
    }

    fn part(&mut self) -> Result<(), PrepareError> {
        self.parts += 1;
        within("modules and components", self.parts, limits::COMPONENT_PARTS_MAX)
    }

    fn segments(&mut self, count: u32) -> Result<(), PrepareError> {
        self.segments += count as usize;
        within("data and element segments", self.segments, limits::COMPONENT_SEGMENTS_MAX)
    }
}

fn function(body: &FunctionBody<'_>) -> Result<(), PrepareError> {
    within("bytes of one function", body.as_bytes().len(), limits::FUNCTION_BYTES_MAX)?;
    let mut locals = 0_usize;
    for group in body.get_locals_reader()? {
        locals = locals.saturating_add(group?.0 as usize);
    }
    within("locals of one function", locals, limits::FUNCTION_LOCALS_MAX)?;

    let (mut open, mut loops) = (Vec::new(), 0);
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Loop { .. } => {
                open.push(true);
                loops += 1;
            }
            Operator::Block { .. }
            | Operator::If { .. }
            | Operator::Try { .. }
            | Operator::TryTable { .. } => {
                open.push(false);
            }
            Operator::End => loops -= usize::from(open.pop() == Some(true)),
            _ => continue,
        }
        within("blocks within blocks", open.len(), limits::BLOCK_NESTING_MAX)?;
        within("loops within loops", loops, limits::LOOP_NESTING_MAX)?;
    }
    Ok(())
}

fn within(what: &str, count: usize, max: usize) -> Result<(), PrepareError> {
    if count > max { Err(too_large(what, count, max)) } else { Ok(()) }
}

fn too_large(what: &str, count: usize, max: usize) -> PrepareError {
    PrepareError::TooLarge(format!("{count} {what}; at most {max} are accepted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component around one core module.
    fn component(module: &str) -> Vec<u8> {
        wat::parse_str(format!("(component (core module {module}))")).expect("wat")
    }

    fn refusal(module: &str) -> String {
        inspect(&component(module)).expect_err("refused").to_string()
    }

    #[test]
    fn what_is_not_a_component_is_told_what_it_is() {
        let core = wat::parse_str("(module)").expect("wat");
        let text = inspect(&core).expect_err("core").to_string();
        assert!(text.contains("core module; `keystead build` wraps it"), "{text}");
        assert!(inspect(b"").expect_err("empty").to_string().contains("the file is empty"));
        assert!(inspect(b"\x7fELF").expect_err("elf").to_string().contains("does not start"));
    }

    #[test]
    fn a_cut_component_is_named_as_such_at_every_length() {
        let whole = component("(func (loop (block nop)))");
        inspect(&whole).expect("whole");
        for len in 9..whole.len() {
            // A cut between two sections of the component is a smaller component.
            if let Err(error) = inspect(&whole[..len]) {
                assert!(matches!(error, PrepareError::NotAComponent(_)), "{len}: {error}");
            }
        }
    }

    #[test]
    fn each_cap_is_named() {
        let loops = "(loop ".repeat(limits::LOOP_NESTING_MAX + 1);
        let closed = ")".repeat(limits::LOOP_NESTING_MAX + 1);
        let text = refusal(&format!("(func {loops}{closed})"));
        assert!(text.contains("61 loops within loops; at most 60"), "{text}");

        let locals = "i32 ".repeat(limits::FUNCTION_LOCALS_MAX + 1);
        let text = refusal(&format!("(func (local {locals}))"));
        assert!(text.contains("locals of one function"), "{text}");

        let body = "nop ".repeat(limits::FUNCTION_BYTES_MAX);
        assert!(refusal(&format!("(func {body})")).contains("bytes of one function"));

        let functions = "(func)".repeat(limits::COMPONENT_FUNCTIONS_MAX + 1);
        assert!(refusal(&functions).contains("60001 functions"));

        let bytes = vec![0; limits::COMPONENT_BYTES_MAX + 1];
        assert!(matches!(inspect(&bytes), Err(PrepareError::TooLarge(_))));
    }

    #[test]
    fn a_large_match_is_not_a_loop_nest() {
        let blocks = "(block ".repeat(1_000);
        let closed = ")".repeat(1_000);
        inspect(&component(&format!("(func {blocks}{closed})"))).expect("accepted");
    }
}

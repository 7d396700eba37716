//! Query parameters: decoded once, each known one taken out by name, and what nobody took is
//! refused, so that a mistyped `?dealy=10s` is an error and not a message sent now.

use std::borrow::Cow;
use std::str::FromStr;

use super::path;
use super::problem::Problem;
use crate::limits;

/// The parameters that are not taken yet.
#[derive(Debug)]
pub struct Params<'a>(Vec<Param<'a>>);

/// A decoded name and value.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

#[derive(Debug)]
struct Param<'a> {
    name: Cow<'a, str>,
    raw: &'a str,
}

impl<'a> Params<'a> {
    /// Splits a query.
    ///
    /// # Errors
    /// 400 when a name is wrongly encoded.
    pub fn new(query: Option<&'a str>) -> Result<Self, Problem> {
        let mut params = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, raw) = pair.split_once('=').unwrap_or((pair, ""));
            params.push(Param { name: form("query parameter", name)?, raw });
        }
        Ok(Self(params))
    }

    /// The names in a query, as far as they can be read.
    #[must_use]
    pub fn names(query: Option<&str>) -> Vec<String> {
        let params = Params::new(query).map(|params| params.0).unwrap_or_default();
        params.into_iter().map(|param| param.name.into_owned()).collect()
    }

    /// Takes the parameter `name` as a form writes it, where `+` is a space.
    ///
    /// # Errors
    /// 400 when it is there twice or wrongly encoded.
    pub fn text(&mut self, name: &'static str) -> Result<Option<Cow<'a, str>>, Problem> {
        self.take(name)?.map(|raw| form(name, raw)).transpose()
    }

    /// Takes the parameter `name` with `+` as it is: `+` belongs to a time's offset.
    ///
    /// # Errors
    /// 400 when it is there twice or wrongly encoded.
    pub fn literal(&mut self, name: &'static str) -> Result<Option<Cow<'a, str>>, Problem> {
        Ok(self.take(name)?.map(|raw| path::decode(name, raw)).transpose()?)
    }

    /// Takes the parameter `name` and reads it.
    ///
    /// # Errors
    /// 400 when it is there twice or does not read; `example` shows what does.
    pub fn parsed<T: FromStr>(
        &mut self,
        name: &'static str,
        example: &str,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let bad = |_| Problem::malformed(format!("{name}: {text:?} is not {example}"));
        text.parse().map(Some).map_err(bad)
    }

    /// Takes `limit`: rows of a page, 1 to [`limits::PAGE_ROWS_MAX`].
    ///
    /// # Errors
    /// 400 when it is not in these bounds.
    pub fn limit(&mut self) -> Result<usize, Problem> {
        let limit = self.parsed("limit", "a number of rows")?.unwrap_or(limits::PAGE_ROWS);
        if limit == 0 || limit > limits::PAGE_ROWS_MAX {
            let max = limits::PAGE_ROWS_MAX;
            return Err(Problem::malformed(format!("limit: is {limit}; it must be 1 to {max}")));
        }
        Ok(limit)
    }

    /// All parameters that are left, decoded, in their order.
    ///
    /// # Errors
    /// 400 when a value is wrongly encoded.
    pub fn rest(self) -> Result<Vec<Pair<'a>>, Problem> {
        let decode = |param: Param<'a>| Ok((param.name, form("query parameter", param.raw)?));
        self.0.into_iter().map(decode).collect()
    }

    /// Ends the reading; `known` says what could have been given.
    ///
    /// # Errors
    /// 400 when a parameter is left.
    pub fn finish(self, known: &str) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some(param) => {
                let detail =
                    format!("{:?} is not a query parameter of this route: {known}", param.name);
                Err(Problem::malformed(detail))
            }
        }
    }

    fn take(&mut self, name: &str) -> Result<Option<&'a str>, Problem> {
        let Some(at) = self.0.iter().position(|param| param.name == name) else {
            return Ok(None);
        };
        let raw = self.0.remove(at).raw;
        if self.0.iter().any(|param| param.name == name) {
            return Err(Problem::malformed(format!("{name}: is given more than once")));
        }
        Ok(Some(raw))
    }
}

fn form<'a>(field: &'static str, raw: &'a str) -> Result<Cow<'a, str>, Problem> {
    if !raw.contains('+') {
        return Ok(path::decode(field, raw)?);
    }
    let spaced = raw.replace('+', " ");
    Ok(Cow::Owned(path::decode(field, &spaced)?.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_taken_by_name_and_decoded() {
        let mut params = Params::new(Some("a=1&&b=x+y%2Bz&at=10:00+01:00&flag")).expect("valid");
        assert_eq!(params.parsed::<u64>("a", "a number").expect("valid"), Some(1));
        assert_eq!(params.text("b").expect("valid").as_deref(), Some("x y+z"));
        assert_eq!(params.literal("at").expect("valid").as_deref(), Some("10:00+01:00"));
        assert_eq!(params.text("none").expect("valid"), None);
        assert_eq!(params.text("flag").expect("valid").as_deref(), Some(""));
        params.finish("a, b, at").expect("nothing left");
    }

    #[test]
    fn twice_unknown_and_wrongly_encoded_are_refused() {
        let detail = |problem: Problem| problem.detail().to_owned();
        let mut params = Params::new(Some("a=1&a=2")).expect("splits");
        assert!(detail(params.text("a").expect_err("twice")).contains("more than once"));
        let params = Params::new(Some("dealy=10s")).expect("splits");
        assert!(detail(params.finish("delay, at").expect_err("unknown")).contains("\"dealy\""));
        assert!(detail(Params::new(Some("%zz=1")).expect_err("encoding")).contains("hex digits"));
        let mut params = Params::new(Some("a=%ff")).expect("splits");
        assert!(detail(params.text("a").expect_err("encoding")).contains("a: is not UTF-8"));
    }

    #[test]
    fn pages_are_bounded() {
        let limit = |query| Params::new(Some(query)).expect("splits").limit();
        assert_eq!(limit("").expect("default"), limits::PAGE_ROWS);
        assert_eq!(limit("limit=7").expect("valid"), 7);
        for query in ["limit=0", "limit=1001", "limit=-1", "limit=x"] {
            assert_eq!(limit(query).expect_err(query).code(), "malformed");
        }
    }
}

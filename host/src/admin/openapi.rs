//! The admin API's own OpenAPI 3.1 document, made from the table of routes. It says what a route takes and which role it
//! asks for; shapes of answers are in the README. Invariant: a route that is not in the document does not exist.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Admin;
use super::reach::Reach;
use super::routes::{Id, ROUTES, Route};
use crate::edge::{self, Problem, Reply};

impl Admin {
    /// `GET /admin/v1/openapi`.
    pub(super) fn openapi(&self) -> Result<Reply, Problem> {
        edge::json(StatusCode::OK, &document())
    }
}

fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Keystead admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "For operators. The console and the command line use nothing else.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Problem": problem()},
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "Asked for once the host has a token. x-keystead-role says which role opens a route; \
                    x-keystead-reach for whom: open to everybody, token for each one whatever its role, the app \
                    in the path, shown as far as the token's apps go, or the host, for tokens of all apps.",
            }},
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    for name in route.braced() {
        parameters.push(json!({
            "name": name, "in": "path", "required": true, "schema": {"type": "string"},
        }));
    }
    for (name, about) in route.query {
        parameters.push(json!({
            "name": name, "in": "query", "description": about, "schema": {"type": "string"},
        }));
    }
    let refused = json!({
        "description": "Refused, with the reason",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    let content_type = match route.id {
        Id::Metrics => "text/plain",
        Id::SnapshotGet => "application/x-tar",
        _ => "application/json",
    };
    let (security, reach) = match route.reach() {
        Reach::Open => (json!([{}]), "open"),
        Reach::Token => (json!([{"token": []}]), "token"),
        Reach::App => (json!([{"token": []}]), "app"),
        Reach::Shown => (json!([{"token": []}]), "shown"),
        Reach::Host => (json!([{"token": []}]), "host"),
    };
    json!({
        "operationId": format!("{:?}", route.id),
        "summary": route.about,
        "security": security,
        "x-keystead-role": route.role,
        "x-keystead-reach": reach,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done", "content": {content_type: {}}},
            "default": refused,
        },
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["status", "code", "detail", "source", "retryable"],
        "properties": {
            "status": {"type": "integer"},
            "code": {"type": "string", "description": "stable, for programs"},
            "detail": {"type": "string", "description": "for people"},
            "source": {"type": "string"},
            "retryable": {"type": "boolean"},
            "details": {"description": "more of it, by code"},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_the_document_with_its_parameters_and_role() {
        let document = document();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
            let names: Vec<_> =
                operation["parameters"].as_array().expect("a list").iter().collect();
            let braces = route.path.matches('{').count();
            assert_eq!(names.len(), braces + route.query.len(), "{}", route.path);
            assert_eq!(operation["x-keystead-role"], json!(route.role));
        }
        let path = "/admin/v1/entities/{app}/{type}";
        assert_eq!(document["paths"][path]["get"]["parameters"][2]["name"], "prefix");
    }
}

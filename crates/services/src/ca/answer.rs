//! Answers of ACME, and the forms that JSON has for times.

use super::wire::{AcmeReply, Content, Link, Relation};
use super::{Problem, ProblemType};
use der::DateTime;
use maftia_base::wire::{Blob, List};
use serde_json::Value;
use std::str::FromStr;
use std::time::Duration;

/// Why a request is refused, with what the answer says besides.
#[derive(Debug)]
pub(super) struct Refused(Box<Refusal>);

#[derive(Debug)]
struct Refusal {
    problem: Problem,
    location: Option<String>,
    link: Option<(String, Relation)>,
}

/// What a request comes to.
pub(super) type Outcome = Result<AcmeReply, Refused>;

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(Box::new(Refusal { problem, location: None, link: None }))
    }
}

impl Refused {
    pub(super) fn at(mut self, location: String) -> Self {
        self.0.location = Some(location);
        self
    }

    pub(super) fn linked(mut self, url: String, relation: Relation) -> Self {
        self.0.link = Some((url, relation));
        self
    }
}

/// A refusal with the status of its kind.
pub(super) fn refuse<T>(kind: ProblemType, detail: impl Into<String>) -> Result<T, Refused> {
    Err(Problem::new(kind, detail).into())
}

/// A refusal with another status.
pub(super) fn refuse_as<T>(
    status: u16,
    kind: ProblemType,
    detail: impl Into<String>,
) -> Result<T, Refused> {
    let mut problem = Problem::new(kind, detail);
    problem.status = status;
    Err(problem.into())
}

/// Too much is asked for: again in so many seconds.
pub(super) fn limited<T>(seconds: u64, detail: impl Into<String>) -> Result<T, Refused> {
    let mut problem = Problem::new(ProblemType::RateLimited, detail);
    problem.retry_after = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
    Err(problem.into())
}

/// The authority cannot do it now: again in so many seconds.
pub(super) fn later<T>(seconds: u32, detail: impl Into<String>) -> Result<T, Refused> {
    let mut problem = Problem::new(ProblemType::ServerInternal, detail);
    problem.status = 503;
    problem.retry_after = Some(seconds);
    Err(problem.into())
}

impl AcmeReply {
    /// An answer with a JSON object.
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::new(status, Content::Json, value.to_string().into_bytes())
    }

    /// An answer without anything.
    pub(super) fn empty(status: u16) -> Self {
        Self::new(status, Content::None, Vec::new())
    }

    pub(super) fn new(status: u16, content: Content, body: Vec<u8>) -> Self {
        let body = Blob::new(body).expect("what an answer is made of is bounded");
        let links = List::default();
        Self { status, location: None, retry_after: None, links, content, body }
    }

    pub(super) fn at(self, url: String) -> Self {
        Self { location: Some(bounded(url)), ..self }
    }

    pub(super) fn linked(self, url: String, relation: Relation) -> Self {
        let mut links = self.links.into_vec();
        links.push(Link { url: bounded(url), relation });
        let links = List::new(links).expect("no answer has more");
        Self { links, ..self }
    }

    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The answer to a request that comes to this.
    pub(super) fn of(outcome: Outcome) -> Self {
        let refused = match outcome {
            Ok(reply) => return reply,
            Err(refused) => refused,
        };
        let Refusal { problem, location, link } = *refused.0;
        let mut reply = Self::new(problem.status, Content::Problem, problem.to_json());
        reply.retry_after = problem.retry_after;
        if let Some(location) = location {
            reply = reply.at(location);
        }
        match link {
            Some((url, relation)) => reply.linked(url, relation),
            None => reply,
        }
    }
}

fn bounded<const MAX: usize>(url: String) -> Blob<MAX> {
    Blob::new(url.into_bytes()).expect("a policy bounds the base, and routes what follows")
}

/// A time as RFC 3339 writes it. Callers see to it that the year has four digits.
pub(super) fn date(seconds: u64) -> String {
    let date = DateTime::from_unix_duration(Duration::from_secs(seconds));
    date.expect("no time beyond the year 9999 is used").to_string()
}

/// The time that a client wrote so; in UTC, to the second.
pub(super) fn from_date(text: &str) -> Option<u64> {
    Some(DateTime::from_str(text).ok()?.unix_duration().as_secs())
}

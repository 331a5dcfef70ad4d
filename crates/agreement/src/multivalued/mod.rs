//! Agreement on one of the proposed values, subject to an external predicate.

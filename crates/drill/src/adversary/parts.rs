//! Of what strategies are made.

use crate::stage::{Said, Stage};
use maftia_base::Party;
use maftia_base::protocol::TimedProtocol;
use maftia_sim::{Adversary, Hand, Letter};

/// Runs the honest code, and has a closure send what it likes instead of each letter.
pub struct Says<F>(pub F);

impl<P, F> Adversary<P> for Says<F>
where
    P: TimedProtocol,
    F: FnMut(&Letter<P::Message>, &mut Hand<'_, P>),
{
    fn outgoing(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) {
        (self.0)(letter, hand);
    }
}

/// What a strategy without honest code reacts to.
pub enum Cue<'a, M> {
    /// The run begins.
    Start,
    /// A letter reached one of its parties.
    Reached(&'a Letter<M>),
    /// An honest server sent a letter to another.
    Overheard(&'a Letter<M>),
}

/// Runs no honest code, and has a closure react to everything that it sees.
pub struct Reacts<F>(pub F);

impl<P, F> Adversary<P> for Reacts<F>
where
    P: TimedProtocol,
    F: FnMut(Cue<'_, P::Message>, &mut Hand<'_, P>),
{
    fn copies(&self, _: Party) -> usize {
        0
    }

    fn started(&mut self, hand: &mut Hand<'_, P>) {
        (self.0)(Cue::Start, hand);
    }

    fn incoming(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) -> bool {
        (self.0)(Cue::Reached(letter), hand);
        false
    }

    fn overheard(&mut self, letter: &Letter<P::Message>, hand: &mut Hand<'_, P>) {
        (self.0)(Cue::Overheard(letter), hand);
    }
}

/// The hand of a stage's adversary.
pub type HandOf<'a, T> = Hand<'a, <T as Stage>::Protocol>;
/// A letter of a stage.
pub type LetterOf<T> = Letter<Said<T>>;

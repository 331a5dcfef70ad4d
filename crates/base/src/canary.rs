//! Deliberately broken versions of single expressions, switched on one at a time: whoever searches
//! for bugs must find them, or has a hole.
//!
//! `canary!("name", wrong, right)` is `right`, in every build but one with the feature `canary`,
//! which no program but the drill enables. There it is `wrong` while `sing` says so. With two
//! arguments, `canary!("name", wrong)`, it is a statement that is not there otherwise.

#[cfg(feature = "canary")]
use std::cell::Cell;

#[cfg(feature = "canary")]
thread_local! {
    static SINGING: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// From here on, in this thread, the canary of this name is broken; `None` mends it.
#[cfg(feature = "canary")]
pub fn sing(name: Option<&'static str>) {
    SINGING.set(name);
}

/// Is this the broken one?
#[cfg(feature = "canary")]
pub fn is_singing(name: &str) -> bool {
    SINGING.get().is_some_and(|singing| singing == name)
}

/// `right`, but in the drill `wrong` while the canary of this name sings.
#[cfg(feature = "canary")]
#[macro_export]
macro_rules! canary {
    ($name:literal, $wrong:expr, $right:expr) => {
        if $crate::canary::is_singing($name) { $wrong } else { $right }
    };
    ($name:literal, $wrong:expr) => {
        if $crate::canary::is_singing($name) {
            $wrong;
        }
    };
}

/// `right`, but in the drill `wrong` while the canary of this name sings.
#[cfg(not(feature = "canary"))]
#[macro_export]
macro_rules! canary {
    ($name:literal, $wrong:expr, $right:expr) => {
        $right
    };
    ($name:literal, $wrong:expr) => {};
}

/// Does something with all canaries mended: whoever judges must not be broken by what is judged.
#[cfg(feature = "canary")]
pub fn quietly<T>(judge: impl FnOnce() -> T) -> T {
    let singing = SINGING.replace(None);
    let judged = judge();
    SINGING.set(singing);
    judged
}

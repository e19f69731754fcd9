//! The two numbers of this crate: [`Epoch`] of a lease and [`Sequence`] of a journal entry.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one. Saturates; no store ever holds 2^64 objects.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

number! {
    /// The number of a lease, and by that the fencing token of its holder. The first lease has 1.
    Epoch
}

number! {
    /// The position of an entry in a journal. The first entry has 1; 0 stands for "before the first".
    Sequence
}

//! The guide's pages, from `guest-sdk/guide/`: one for each concept, each with code that a test runs.
//!
#![doc = include_str!("../guide/README.md")]

macro_rules! pages {
    ($($page:ident),*) => {$(
        #[doc = include_str!(concat!("../guide/", stringify!($page), ".md"))]
        pub mod $page {}
    )*};
}

pages!(
    entities,
    transactions,
    messages,
    replies,
    timers,
    state,
    migrations,
    activities,
    reservations,
    sagas,
    callbacks,
    testing,
    choosing
);

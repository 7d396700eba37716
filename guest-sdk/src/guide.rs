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
    testing,
    choosing
);

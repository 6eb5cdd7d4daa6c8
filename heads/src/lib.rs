//! cvx-heads.

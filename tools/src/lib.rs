//! cvx-tools.

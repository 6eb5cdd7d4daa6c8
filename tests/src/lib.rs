//! cvx-tests.

//! cvx-pretrain: converts weights between this program and the libraries that others use.

fn main() -> std::process::ExitCode {
    cvx_tools::pretrain::main()
}

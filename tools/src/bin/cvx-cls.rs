//! cvx-cls: ConvNeXt as a classifier.

fn main() -> std::process::ExitCode {
    cvx_tools::cls::main()
}

"""Case packs: general, medical, code and hiring hold reviewed answers for the built-in constitutions, code-requests asks for
code, and code-hacking holds tasks with visible and hidden tests. ``load_cases("pack:general")`` reads one."""

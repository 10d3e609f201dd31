"""Case packs for the built-in constitutions: general, medical, code, hiring. ``load_cases("pack:general")`` reads one."""

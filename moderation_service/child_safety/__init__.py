"""Child safety: the legal hold of posts with `route: child_safety`, and the package that hands a case over."""

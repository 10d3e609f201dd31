"""An answer that is released while it is generated: in windows, each of which is reviewed before it leaves."""

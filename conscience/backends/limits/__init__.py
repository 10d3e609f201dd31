"""What limits a call: its time, and the budgets of those who pay for it."""

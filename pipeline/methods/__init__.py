"""What WFN is compared with: one module a method."""

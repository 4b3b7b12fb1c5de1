"""The published unit of work that AWE is measured with: workflows over the standard library."""

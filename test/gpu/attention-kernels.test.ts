// Attention's table of cases once more, by Hopper's own kernels wherever there is one: those that no GPU has timed yet too.
process.env.REPA_ATTENTION = 'wgmma'
await import('../tensor/ops/attention.test.ts')

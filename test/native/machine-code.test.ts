import { expect, test } from 'vitest'
import { readMachineCode, unitOf } from '../../scripts/machine-code.mjs'

/** As cuobjdump 13.1 prints a kernel of two loops, one in the other, and what its end is filled up with. */
const DUMP = `
Fatbin elf code:
================
arch = sm_90a

\tcode for sm_90a
\t.target\tsm_90a

\t\tFunction : _Z6kernelPf
\t.headerflags\t@"EF_CUDA_SM90 EF_CUDA_ACCELERATORS EF_CUDA_VIRTUAL_SM(EF_CUDA_SM90)"
        /*0000*/                   LDC R1, c[0x0][0x28] ;                                /* 0x00000a00ff017b82 */
                                                                                         /* 0x000fe40000000800 */
        /*0010*/                   LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ;             /* 0x0000000402047981 */
                                                                                         /* 0x000ea2000c1e9d00 */
        /*0020*/                   LDS R8, [R9+0x10] ;                                   /* 0x0000100009087984 */
                                                                                         /* 0x000e220000000800 */
        /*0030*/                   FFMA R4, R4, R8, R5 ;                                 /* 0x0000000804047223 */
                                                                                         /* 0x001fe20000000005 */
        /*0040*/                   MUFU.EX2 R6, R4 ;                                     /* 0x0000000400067308 */
                                                                                         /* 0x000e620000000800 */
        /*0050*/              @!P0 BRA 0x20 ;                                            /* 0xfffffffc00308947 */
                                                                                         /* 0x000fea000383ffff */
        /*0060*/                   HGMMA.64x64x16.F32.BF16 R24, gdesc[UR4], R24 ;        /* 0x00e0000004187df0 */
                                                                                         /* 0x000fe20008701818 */
        /*0070*/                   STG.E.U16 desc[UR6][R10.64+0x20], R6 ;                /* 0x000020060a007986 */
                                                                                         /* 0x000fe2000c101506 */
        /*0080*/              @UP1 UIADD3 UR4, UR4, 0x1, URZ ;                           /* 0x0000000104041890 */
                                                                                         /* 0x000fe2000fffe03f */
        /*0090*/               @P1 BRA 0x10 ;                                            /* 0xfffffffc00601947 */
                                                                                         /* 0x000fea000383ffff */
        /*00a0*/                   EXIT ;                                                /* 0x000000000000794d */
                                                                                         /* 0x000fea0003800000 */
        /*00b0*/                   BRA 0xb0;                                             /* 0xfffffffc00fc7947 */
                                                                                         /* 0x000fc0000383ffff */
\t\t.........................
`

test("a kernel's loops are read from what cuobjdump prints, by unit and by width of access", () => {
  const [kernel, ...rest] = readMachineCode(DUMP)
  expect(rest).toEqual([])
  expect(kernel).toMatchObject({ architecture: 'sm_90a', name: '_Z6kernelPf', count: 12 })
  expect(kernel!.loops).toEqual([
    {
      first: 0x10,
      last: 0x90,
      count: 9,
      units: expect.arrayContaining([
        ['memory', 3],
        ['control', 2],
        ['fma', 1],
        ['special', 1],
        ['tensor', 1],
        ['uniform', 1],
      ]),
      accesses: [
        ['LDG.128', 1],
        ['LDS.32', 1],
        ['STG.16', 1],
      ],
    },
    {
      first: 0x20,
      last: 0x50,
      count: 4,
      units: [
        ['memory', 1],
        ['fma', 1],
        ['special', 1],
        ['control', 1],
      ],
      accesses: [['LDS.32', 1]],
    },
  ])
})

test.for([
  ['IMAD.MOV.U32', 'fma'],
  ['F2FP.BF16.F32.PACK_AB', 'alu'],
  ['FMNMX', 'alu'],
  ['F2I.FTZ.U32.TRUNC.NTZ', 'special'],
  ['SHFL.BFLY', 'memory'],
  ['UTMALDG.4D', 'memory'],
  ['USETMAXREG', 'uniform'],
  ['R2UR', 'uniform'],
  ['WARPGROUP.DEPBAR.LE', 'control'],
  ['SEL', 'alu'],
] as const)('%s is an instruction of %s', ([opcode, unit]) => {
  expect(unitOf(opcode)).toBe(unit)
})

/**
 * Field numbers of the messages in TensorBoard's event files, from tensorflow/core/util/event.proto and
 * tensorflow/core/framework/{summary,tensor,tensor_shape,types}.proto.
 */
export const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 } as const
export const SUMMARY = { value: 1 } as const
export const VALUE = { tag: 1, simpleValue: 2, image: 4, tensor: 8, metadata: 9 } as const
export const IMAGE = { height: 1, width: 2, colorspace: 3, encodedImage: 4 } as const
export const METADATA = { pluginData: 1 } as const
export const PLUGIN_DATA = { pluginName: 1 } as const
export const TENSOR = { dtype: 1, shape: 2, stringValue: 8 } as const
export const TENSOR_SHAPE = { dimension: 2 } as const
export const DIMENSION = { size: 1 } as const
export const SESSION_LOG = { status: 1 } as const

/** DataType.DT_STRING */
export const DT_STRING = 7
/** SessionLog.SessionStatus.START */
export const SESSION_START = 1
/** What the first event of every file says. */
export const FILE_VERSION = 'brain.Event:2'

/**
 * A record (tensorflow/core/lib/io/record_writer.h): 64-bit length, its masked CRC-32C, the data, its masked CRC-32C.
 */
export const RECORD_HEADER_BYTES = 12
export const RECORD_FOOTER_BYTES = 4

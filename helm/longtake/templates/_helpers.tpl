{{- define "longtake.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "longtake.rayImage" -}}
{{ .Values.rayImage.repository | default (printf "%s-ray" .Values.image.repository) }}{{ if .Values.rayImage.digest }}@{{ .Values.rayImage.digest }}{{ else }}:{{ .Values.rayImage.tag | default .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "longtake.operator" -}}
{{ printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "longtake.selector" -}}
app.kubernetes.io/name: longtake-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "longtake.labels" -}}
{{ include "longtake.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "scrutin.labels" -}}
app.kubernetes.io/part-of: scrutin
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "scrutin.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}

{{- /* Of every container. */}}
{{- define "scrutin.container" -}}
image: {{ include "scrutin.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom: [{ configMapRef: { name: {{ .Release.Name }} } }]
securityContext:
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: { drop: [ALL] }
volumeMounts:
  - { name: tmp, mountPath: /tmp }
  - { name: secret, mountPath: /etc/scrutin/secret, readOnly: true }
  - { name: ca, mountPath: /etc/scrutin/ca, readOnly: true }
{{- end }}

{{- /* Of every pod. */}}
{{- define "scrutin.pod" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  fsGroup: 10001
  seccompProfile: { type: RuntimeDefault }
volumes:
  - { name: tmp, emptyDir: {} }
  - { name: secret, secret: { secretName: {{ .Values.secretName }}, defaultMode: 0440 } }
  - { name: ca, configMap: { name: {{ .Values.caConfigMap }} } }
{{- end }}
